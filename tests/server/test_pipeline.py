"""Across the nodes: the published pipeline, case by case, through the real server."""

import json
from typing import Any

import pytest
import torch
from graphs import Graph
from safetensors.torch import load_file
from studio import Animation, Studio, relative_error
from torch import Tensor

pytestmark = [pytest.mark.server, pytest.mark.slow]

# Latents and frames; text, image tokens and contexts.
TOLERANCE, ENCODER_TOLERANCE = 1e-3, 1e-4

CASES = [
    "256_animate",
    "512_animate",
    "512_animate_eta1",
    "512_frames8",
    "512_interp",
    "512_two_scales",
]
MODES = {"animate": "animate", "interp": "interpolate"}


class Case:
    """A golden case: its settings and tensors."""

    def __init__(self, studio: Studio, name: str):
        folder = studio.golden / "pipeline"
        self.name = name
        described = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        self.settings: dict[str, Any] = described["case"]
        self.tensors = load_file(folder / f"{name}.safetensors")

    def image(self, key: str) -> Tensor:
        return self.tensors[key][None].float() / 255

    @property
    def latent(self) -> Tensor:
        return frames_in_batch(self.tensors["latent"]) / 0.18215

    @property
    def frames(self) -> Tensor:
        return self.tensors["frames"].clamp(-1, 1) / 2 + 0.5


def frames_in_batch(video: Tensor) -> Tensor:
    return video.transpose(1, 2).flatten(0, 1)  # [N*T, C, h, w]


def animation(studio: Studio, graph: Graph, case: Case, checkpoint: str, **loader: Any):
    """The case's graph up to its conditionings."""
    settings = case.settings
    made = Animation(studio, graph, checkpoint, **loader)
    image = studio.image(graph, case.image("image"))
    end = studio.image(graph, case.image("image2")) if settings["mode"] == "interp" else None
    made.text(settings["prompt"]).context(image)
    return made.detail(
        image,
        settings["width"],
        settings["height"],
        settings["frames"],
        mode=MODES[settings["mode"]],
        fps=settings["fs"],
        end_image=end,
    )


def guidance(made: Animation, case: Case) -> dict[str, Any]:
    settings = case.settings
    two_scales = "cfg_img" in settings
    return {
        "cfg": settings["cfg"],
        "image_cfg": settings.get("cfg_img", settings["cfg"]),
        "guidance_rescale": settings["guidance_rescale"],
        "image_only": made.image_only if two_scales else None,
    }


def prepare_noise(studio: Studio, graph: Graph, made: Animation, case: Case):
    """NOISE of the case; the model is wired so that each step draws the recorded noise."""
    draws = case.tensors.get("noise")
    file = (
        "" if draws is None else studio.put(draws=torch.stack([frames_in_batch(d) for d in draws]))
    )
    made.model = graph.add("TestStepNoise", model=made.model, file=file, key="draws")[0]
    return studio.noise(graph, frames_in_batch(case.tensors["x_T"]))


def check(case: Case, results: dict[str, dict[str, Tensor]]) -> None:
    assert relative_error(results["latent"]["value.samples"], case.latent) < TOLERANCE
    assert relative_error(results["frames"]["value"], case.frames) < TOLERANCE


def sample(studio: Studio, graph: Graph, made: Animation, case: Case):
    noise = prepare_noise(studio, graph, made, case)
    latent = made.sample(
        steps=case.settings["steps"],
        eta=case.settings["eta"],
        spacing=case.settings["spacing"],
        ending="published",
        noise=noise,
        **guidance(made, case),
    )
    return latent, made.decode(latent)[0]


@pytest.mark.parametrize("name", CASES)
def test_every_stage_of_the_published_pipeline(studio: Studio, graph: Graph, name: str) -> None:
    case = Case(studio, name)
    made = animation(studio, graph, case, studio.checkpoint(name))
    latent, frames = sample(studio, graph, made, case)
    results = studio.run(
        graph,
        latent=latent,
        frames=frames,
        positive=made.positive,
        negative=made.negative,
        tokens=made.encoded[0],
        null_tokens=made.encoded[1],
    )
    check(case, results)
    encoders = {
        ("positive", "value.0.0"): "text",
        ("negative", "value.0.0"): "null_text",
        ("tokens", "value.last_hidden_state"): "clip_tokens",
        ("null_tokens", "value.last_hidden_state"): "null_clip_tokens",
        ("positive", "value.0.1.dynamicrafter_image_context"): "image_context",
        ("negative", "value.0.1.dynamicrafter_image_context"): "null_image_context",
    }
    for (output, path), golden in encoders.items():
        error = relative_error(results[output][path], case.tensors[golden])
        assert error < ENCODER_TOLERANCE, (output, path, error)
    concat = results["positive"]["value.0.1.concat_latent_image"] * 0.18215
    first = case.tensors["z_first"].reshape(concat[0].shape)
    assert relative_error(concat[0], first) < ENCODER_TOLERANCE
    if case.settings["mode"] == "interp":
        last = case.tensors["z_last"].reshape(concat[-1].shape)
        assert relative_error(concat[-1], last) < ENCODER_TOLERANCE
        assert not concat[1:-1].any()


# The other objective and modes: `test_family`.
@pytest.mark.parametrize("name", ["512_animate_eta1", "512_two_scales"])
def test_custom_sampling_with_our_guider_scheduler_and_ddim(
    studio: Studio, graph: Graph, name: str
) -> None:
    case = Case(studio, name)
    made = animation(studio, graph, case, studio.checkpoint(name))
    noise = prepare_noise(studio, graph, made, case)
    sigmas = made.scheduler(
        steps=case.settings["steps"], spacing=case.settings["spacing"], ending="published"
    )
    sampler = graph.add("DynamiCrafterDDIM", eta=case.settings["eta"])[0]
    latent = made.sample_custom(noise, made.guider(**guidance(made, case)), sampler, sigmas)
    check(case, studio.run(graph, latent=latent, frames=made.decode(latent)[0]))


@pytest.mark.parametrize(
    ("name", "suffix", "options"),
    [
        ("512_frames8", ".ckpt", {}),
        ("256_animate", ".ckpt", {"published_256": True}),
        ("512_frames8", ".safetensors", {"prune": True}),
    ],
    ids=["pickle", "published-256-key-name", "pruned"],
)
def test_the_same_numbers_from_every_layout(
    studio: Studio, graph: Graph, name: str, suffix: str, options: dict[str, bool]
) -> None:
    case = Case(studio, name)
    checkpoint = studio.checkpoint(name, suffix=suffix, **options)
    pruned = bool(options.get("prune"))
    made = animation_of_pruned(studio, graph, case, checkpoint) if pruned else None
    made = made or animation(studio, graph, case, checkpoint)
    latent, frames = sample(studio, graph, made, case)
    check(case, studio.run(graph, latent=latent, frames=frames))


def animation_of_pruned(studio: Studio, graph: Graph, case: Case, checkpoint: str) -> Animation:
    """U-Net, projector and VAE from the pruned file, the encoders from the whole one."""
    settings = case.settings
    made = Animation(studio, graph, checkpoint, variant=settings["variant"])
    whole = Animation(studio, graph, studio.checkpoint(case.name))
    made.clip, made.clip_vision = whole.clip, whole.clip_vision
    image = studio.image(graph, case.image("image"))
    made.text(settings["prompt"]).context(image)
    return made.detail(
        image, settings["width"], settings["height"], settings["frames"], fps=settings["fs"]
    )
