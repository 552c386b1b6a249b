"""Across the motion nodes: any text, mask, picture or number, and samplers on what comes out.

Each case ends in finite results or in one sentence with a remedy. No server is needed, so many fit
into a second; `tests/server/test_hostile_graphs.py` has the same nodes on a real one.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import small_checkpoint
import torch
from fakes import FakeVAE
from pack.nodes import camera_motion, drag_motion, frame_strip, motion_amount, prior_guider
from pack.nodes import reference_motion as reference_node
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.host.guider import Guidance
from pack.nodes.load import load_checkpoint
from pack.nodes.sampling import Sampler, SamplerSettings, make_sigmas
from remedies import REMEDY
from torch import Tensor

SEEDS, CASES = range(3), 60
SECONDS = 10.0
FRAMES, SIZE = 4, 64
NAN = float("nan")
FILLS = (0.0, 1.0, 0.01, 0.5, -3.0, 200.0, NAN, float("inf"), 1e-38, 3e38)
SHAPES = ((1, 64, 64), (4, 64, 64), (3, 64, 64), (1, 64, 32), (1, 1, 1), (64, 64), (1, 1, 1, 8, 8))
OTHER_TYPES = (torch.uint8, torch.bool, torch.int64, torch.complex64)
TEXTS = (
    *("", ";;\n;", "40, 40", "1,1;" * 100_000, "nan, nan", "inf, 0", "1e308, 1e308", "-5e5, 9e5"),
    *("3: 9, 9; 1: 2, 2", "2: 1, 1; 2: 5, 5", "-9: 1, 1", "9" * 5000 + ": 1, 1", "1, 1; 2: 1, 1"),
    *("٤٠, ٤٠", "\uff11,\uff12", "1_0, 2", "1,\x00\x1b[2J2", "\ud800", "x" * 100_000, "5, 5, 0"),
    *("1, 1, 1e-9", "1, 1, 19, 1e5", "0, 0, 1, 0, 1e5", "0, 0, 0.06, 720, -9", "1,2,3,4,5,6", "5"),
)


def tensor(draw: random.Random, shapes: Any) -> Tensor:
    seed = torch.Generator().manual_seed(draw.randrange(2**31))
    made = torch.rand(draw.choice(shapes), generator=seed)
    kind = draw.randrange(4)
    if kind == 1:
        return torch.full_like(made, draw.choice(FILLS))
    return made.to(draw.choice(OTHER_TYPES)) if kind == 2 else made


def hostile(draw: random.Random, wire: str) -> Any:
    """A value for an input of this type."""
    if draw.random() < 0.1:
        return draw.choice((None, "text", 7, {}, torch.zeros(0), SimpleNamespace(model=None)))
    if wire == "STRING":
        return draw.choice(TEXTS)
    if wire == "MASK":
        return tensor(draw, SHAPES)
    if wire == "IMAGE":
        sizes = ((64, 64), (1, 1), (64, 32), (0, 64), (1, 500))
        return tensor(draw, [(n, *s, c) for n in (1, 4, 3) for s in sizes for c in (3, 1, 4)])
    if wire == "COMBO":
        return draw.choice(("orbit_left", "path", "zoom_out", "all", "lambda", "", 3))
    return draw.choice((0, 1, -1, 2, 8, 63, 64, 1001, 10**30, NAN, 1e308, 0.5, "1", True))


@pytest.fixture(scope="module")
def loaded(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Small checkpoints by their variant and seed."""
    found: dict[Any, Any] = {}

    def load(variant: str = "512", seed: int = 0) -> Any:
        if (variant, seed) not in found:
            path = tmp_path_factory.mktemp("checkpoints") / "small.safetensors"
            lender = golden / "pipeline" / "512_frames8.json"
            small_checkpoint.write(lender, path, variant, seed=seed)
            found[variant, seed] = load_checkpoint(str(path), "auto", "fp32")
        return found[variant, seed]

    return load


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes() -> Iterator[None]:
    with torch.inference_mode():
        yield


def conditioning(seed: int = 0) -> Any:
    """A CONDITIONING as Visual Detail Guidance leaves it."""
    draw = torch.Generator().manual_seed(seed)
    width = small_checkpoint.SMALL.context_dim
    settings = {
        "pooled_output": None,
        keys.NUM_FRAMES: FRAMES,
        keys.CONCAT_LATENT: torch.randn(FRAMES, 4, 8, 8, generator=draw),
        keys.IMAGE_CONTEXT: torch.randn(1, 16 * FRAMES, width, generator=draw),
    }
    return [[torch.randn(1, 77, width, generator=draw), settings]]


def latent(rows: int = FRAMES, height: int = 8, width: int = 8, **values: Any) -> Any:
    return {"samples": torch.zeros(rows, 4, height, width), "num_frames": FRAMES, **values}


def sampled(model: Any, given: Any = None, **options: Any) -> Tensor:
    settings = {
        **{"seed": 1, "steps": 2, "cfg": 3.0, "image_cfg": 3.0, "eta": 0.0, "spacing": "auto"},
        **{"guidance_rescale": 0.0, "ending": "clean", "start_timestep": 1000, "denoise": 1.0},
        **options,
    }
    made = Sampler.execute(
        model=model,
        positive=conditioning(),
        negative=conditioning(1),
        latent=given or latent(),
        **settings,
    )
    return made.args[0]["samples"]


def guided(model: Any, guider: Any, given: Any = None) -> Tensor:
    start = given or latent()
    noise = torch.randn(start["samples"].shape, generator=torch.Generator().manual_seed(0))
    sigmas = make_sigmas(model, SamplerSettings(steps=2))
    euler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise, start["samples"], euler, sigmas, disable_pbar=True, seed=0)


def good_inputs(loaded: Callable[..., Any]) -> dict[Any, dict[str, Any]]:
    """Inputs with which each node runs."""
    draw = torch.Generator().manual_seed(0)
    picture = torch.rand(1, SIZE, SIZE, 3, generator=draw)
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 20:40, 20:40] = 1
    size = {"width": SIZE, "height": SIZE, "length": FRAMES}
    model = loaded().model
    return {
        drag_motion.DragMotion: {
            **{"image": picture, "mask": mask, "path": "40, 40", **size, "path_masks": mask},
        },
        camera_motion.CameraMotion: {
            **{"image": picture, "move": "path", "amount": 0.2, "path": "0.1, 0, 1.2, 5, 0.1"},
            **{**size, "depth": picture},
        },
        frame_strip.FrameStrip: {
            **{"images": picture, "num_frames": 0, "columns": 4, "height": 32, "labels": "a"},
        },
        reference_node.ReferenceMotion: {
            **{"model": model, "vae": FakeVAE(), "reference": picture.repeat(FRAMES, 1, 1, 1)},
            **{"weak_timestep": 800, "strong_timestep": 600, "strength": 1.0},
            **{"mask": mask, "may_move": mask, "soft_border": 4},
        },
        motion_amount.MotionAmount: {"model": model, "motion": 0.5, "means": "all"},
        prior_guider.PriorGuiderNode: {
            **{"model": model, "prior": loaded("videocrafter2").model},
            **{"positive": conditioning(), "negative": conditioning(1)},
            **{"cfg": 3.0, "guidance_rescale": 0.0, "prior_strength": 1.0},
        },
    }


def results(node: Any, inputs: dict[str, Any]) -> list[Tensor]:
    """What a node gives, sampled where it is a model or a guider."""
    made = list(node.execute(**inputs).args)
    if node is prior_guider.PriorGuiderNode:
        return [guided(inputs["model"], made[0])]
    if node in (reference_node.ReferenceMotion, motion_amount.MotionAmount):
        return [sampled(made[0])]
    return made


def fault(call: Callable[[], list[Tensor]]) -> str:
    """What is wrong with how a case ends; empty when nothing is."""
    started = time.process_time()
    try:
        if not all(bool(one.isfinite().all()) for one in call()):
            return "not finite"
    except InputError as error:
        said = str(error)
        short = said.isprintable() and len(said) <= 700
        return "" if short and said.endswith(".") and REMEDY.search(said) else f"says {said[:300]}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
        return f"raw {type(error).__name__}: {error!s:.300}"
    return "" if time.process_time() - started < SECONDS else "slow"


def test_good_inputs_run(loaded: Callable[..., Any]) -> None:
    for node, inputs in good_inputs(loaded).items():
        assert all(bool(one.isfinite().all()) for one in results(node, inputs)), node


@pytest.mark.parametrize("seed", SEEDS)
def test_anything_ends_in_results_or_a_sentence(loaded: Callable[..., Any], seed: int) -> None:
    draw, nodes, faults = random.Random(seed), good_inputs(loaded), []
    for case in range(CASES):
        node = draw.choice(list(nodes))
        entries = {entry.id: entry.get_io_type() for entry in node.define_schema().inputs}
        inputs = dict(nodes[node])
        names = draw.sample(list(inputs), k=draw.choice((1, 1, 2)))
        inputs.update({name: hostile(draw, entries[name]) for name in names})
        found = fault(lambda node=node, inputs=inputs: results(node, inputs))
        if found:
            faults.append(f"{seed}/{case} {node.__name__} {names}: {found}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("kind", ["drag", "camera", "border"])
def test_an_interrupt_ends_the_work(loaded: Callable[..., Any], kind: str) -> None:
    nodes = good_inputs(loaded)
    node = {
        "drag": drag_motion.DragMotion,
        "camera": camera_motion.CameraMotion,
        "border": reference_node.ReferenceMotion,
    }[kind]
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        node.execute(**nodes[node])


PRIORS = {
    "videocrafter1_i2v": {keys.IMAGE_CONTEXT},
    "videocrafter2": set(),
    # Its speed is a stride of frames, the model's a rate.
    "256": {keys.IMAGE_CONTEXT, keys.CONCAT_LATENT},
}


@pytest.mark.parametrize("variant", PRIORS)
def test_a_prior_gets_what_it_knows(loaded: Callable[..., Any], variant: str) -> None:
    """Of the model's own unconditional conditioning."""
    prior = loaded(variant).model
    negative = conditioning(1)
    negative[0][1][keys.SPEED] = 24
    guider = prior_guider.build_prior_guider(
        loaded().model, prior, conditioning(), negative, Guidance(3.0, 3.0, 0.0), 1.0
    )
    ours = {keys.IMAGE_CONTEXT, keys.CONCAT_LATENT, keys.SPEED}
    assert ours & set(guider.prior_conditioning[0]) == PRIORS[variant]
    assert bool(guided(loaded().model, guider).isfinite().all())


def test_a_reference_on_the_prior_is_refused(loaded: Callable[..., Any]) -> None:
    """It would do nothing."""
    nodes, node = good_inputs(loaded), prior_guider.PriorGuiderNode
    prior = nodes[node]["prior"]
    reference = {**nodes[reference_node.ReferenceMotion], "model": prior}
    following = reference_node.ReferenceMotion.execute(**reference).args[0]
    with pytest.raises(InputError, match="prior follows a reference, which only what is sampled"):
        node.execute(**{**nodes[node], "prior": following})


REFUSED = [
    ("mask", {"mask": torch.ones(1, 64, 32)}, {}, "A mask has 32 x 64 pixels, the reference 64"),
    ("tall latent", {}, {"height": 16}, "The reference has 64 x 64 pixels, the video 64 x 128"),
    ("length", {}, {"rows": 3}, "The reference has 4 frames, the video 3"),
    ("order", {"weak_timestep": 5, "strong_timestep": 6}, {}, "held down to timestep 6, the rest"),
    ("nothing", {"may_move": torch.zeros(1, 64, 64)}, {}, "may_move lets nothing move"),
    ("border", {"soft_border": 512}, {}, "border of 512 pixels, may_move lets nothing move"),
    ("size", {"reference": torch.rand(4, 63, 64, 3)}, {}, "height is 63; choose a multiple of 8"),
]


@pytest.mark.parametrize(("name", "given", "shape", "found"), REFUSED, ids=lambda v: v)
def test_references_that_do_not_fit_are_refused(
    loaded: Callable[..., Any], name: str, given: Any, shape: Any, found: str
) -> None:
    node = reference_node.ReferenceMotion
    inputs = {**good_inputs(loaded)[node], **given}
    with pytest.raises(InputError, match=found):
        sampled(node.execute(**inputs).args[0], latent(**shape))
