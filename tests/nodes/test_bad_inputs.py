"""Odd and hostile inputs through the real server: one clear sentence or a correct run, never worse.

Every case also bounds the time (30 s) and the memory that it may take, and finds the server alive.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy_client import PromptError
from graphs import Graph, Link
from safetensors.torch import load_file, save_file
from scene import FRAMES, SIZE, Scene, unit_noise
from studio import Animation, Studio, picture
from torch import Tensor

pytestmark = pytest.mark.server

TIME_LIMIT = 30.0
MEMORY_LIMIT = 2 * 1024**3
OWN_ERRORS = ("InputError", "CheckpointError")
NAN, INF = float("nan"), float("inf")


def peak_memory(studio: Studio, *, reset: bool = False) -> int:
    """Largest resident size of the server since the last reset, in bytes; 0 where untold."""
    process = studio.server._process
    assert process is not None
    folder = Path(f"/proc/{process.pid}")
    if not folder.exists():
        return 0
    if reset:
        (folder / "clear_refs").write_text("5")
    lines = (folder / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def outcome(studio: Studio, graph: Graph, *links: Link) -> PromptError | None:
    """How the server takes a prompt: None for a run to its end, else the error."""
    for i, link in enumerate(links):
        graph.add("TestSave", value=link, name=f"unused-{i}")
    before = peak_memory(studio, reset=True)
    started = time.monotonic()
    try:
        studio.server.prompt(graph.prompt, timeout=TIME_LIMIT)
    except PromptError as error:
        return error
    finally:
        assert time.monotonic() - started < TIME_LIMIT
        assert peak_memory(studio) - before < MEMORY_LIMIT
        assert studio.server.system_stats()["devices"]
    return None


def refused(studio: Studio, graph: Graph, *links: Link) -> str:
    """The message of a refusal: by the server before the run, or by us in one sentence."""
    error = outcome(studio, graph, *links)
    assert error is not None, "the prompt ran"
    if not error.errors:
        assert error.exception_type.endswith(OWN_ERRORS), f"{error.exception_type}: {error}"
        assert error.node_message.endswith(".")
        assert "\n" not in error.node_message
    return str(error)


def runs(studio: Studio, graph: Graph, **links: Link) -> dict[str, dict[str, Tensor]]:
    """The results of a run, all finite."""
    started = time.monotonic()
    results = studio.run(graph, timeout=TIME_LIMIT, **links)
    assert time.monotonic() - started < TIME_LIMIT
    for tensors in results.values():
        assert all(bool(t.float().isfinite().all()) for t in tensors.values())
    return results


# -- images ----------------------------------------------------------------------------------------


def spoiled(value: float) -> Tensor:
    image = picture(SIZE, SIZE)
    image[0, 3, 5, 1] = value
    return image


BAD_IMAGES: dict[str, tuple[Tensor, str]] = {
    "no image": (torch.zeros(0, SIZE, SIZE, 3), "is empty|0 images"),
    "no rows": (torch.zeros(1, 0, SIZE, 3), "is empty"),
    "no columns": (torch.zeros(1, SIZE, 0, 3), "is empty"),
    "two channels": (torch.zeros(1, SIZE, SIZE, 2), "expected a batch of images"),
    "five channels": (torch.zeros(1, SIZE, SIZE, 5), "expected a batch of images"),
    "no batch": (torch.zeros(SIZE, SIZE, 3), "expected a batch|images; expected"),
    "a video": (torch.zeros(1, 2, SIZE, SIZE, 3), "expected a batch of images"),
    "NaN": (spoiled(NAN), "not finite"),
    "infinite": (spoiled(INF), "not finite"),
    "negative infinite": (spoiled(-INF), "not finite"),
}


def bare(studio: Studio, graph: Graph) -> Animation:
    """A loaded checkpoint with texts alone."""
    return Animation(studio, graph, studio.small_checkpoint("512")).text("waves")


def into_guidance(studio: Studio, graph: Graph, image: Link) -> Link:
    return bare(studio, graph).detail(image, SIZE, SIZE, FRAMES).latent


def into_end_image(studio: Studio, graph: Graph, image: Link) -> Link:
    start = studio.image(graph, picture(SIZE, SIZE))
    made = bare(studio, graph)
    return made.detail(start, SIZE, SIZE, FRAMES, mode="interpolate", end_image=image).latent


def into_keyframe(studio: Studio, graph: Graph, image: Link) -> Link:
    start = studio.image(graph, picture(SIZE, SIZE))
    frames = graph.add("DynamiCrafterKeyframe", image=image, frame=2)[0]
    made = bare(studio, graph)
    return made.detail(start, SIZE, SIZE, FRAMES, mode="keyframes", keyframes=frames).latent


def into_context(studio: Studio, graph: Graph, image: Link) -> Link:
    return bare(studio, graph).context(image).positive


def into_colors(studio: Studio, graph: Graph, image: Link) -> Link:
    video = studio.image(graph, picture(SIZE, SIZE))
    return graph.add(
        "DynamiCrafterColorMatch",
        images=video,
        reference=image,
        method="mean_std",
        source="each_frame",
        strength=1.0,
    )[0]


def into_extend(studio: Studio, graph: Graph, image: Link) -> Link:
    made = bare(studio, graph)
    return graph.add(
        "DynamiCrafterExtend",
        positive=made.positive,
        negative=made.negative,
        vae=made.vae,
        images=image,
        length=FRAMES,
        overlap=1,
        fps=0,
    )[3]


CONSUMERS = {
    "guidance": into_guidance,
    "end image": into_end_image,
    "keyframe": into_keyframe,
    "context": into_context,
    "colors": into_colors,
    "extend": into_extend,
}


@pytest.mark.parametrize("consumer", list(CONSUMERS))
@pytest.mark.parametrize("name", list(BAD_IMAGES))
def test_bad_images_are_refused(studio: Studio, graph: Graph, name: str, consumer: str) -> None:
    image, fragments = BAD_IMAGES[name]
    link = CONSUMERS[consumer](studio, graph, studio.image(graph, image))
    message = refused(studio, graph, link)
    others = ("multiple of 8", "overlap is") if consumer == "extend" else ()
    assert any(part in message for part in (*fragments.split("|"), *others)), message


ODD_IMAGES = {
    "1 x 1": torch.full((1, 1, 1, 3), 0.3),
    "10000 x 16": picture(16, 10000),
    "16 x 10000": picture(10000, 16),
    "10000 x 1": torch.rand(1, 1, 10000, 3, generator=torch.Generator().manual_seed(0)),
    "alpha": torch.cat([picture(SIZE, SIZE), torch.zeros(1, SIZE, SIZE, 1)], dim=-1),
    "grey": picture(SIZE, SIZE)[..., :1],
    "half precision": picture(SIZE, SIZE).half(),
    "double precision": picture(SIZE, SIZE).double(),
}


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("name", list(ODD_IMAGES))
def test_odd_images_run(studio: Studio, graph: Graph, name: str, fit: str) -> None:
    image = studio.image(graph, ODD_IMAGES[name])
    made = bare(studio, graph).context(image, fit=fit)
    made.detail(image, SIZE, SIZE, FRAMES, fit=fit)
    results = runs(studio, graph, latent=made.sample(steps=1), positive=made.positive)
    assert results["latent"]["value.samples"].shape == (FRAMES, 4, SIZE // 8, SIZE // 8)


def guidance_latent(studio: Studio, image: Tensor) -> Tensor:
    graph = Graph()
    link = into_guidance(studio, graph, studio.image(graph, image))
    positive = [link[0], 0]
    found = studio.run(graph, positive=positive)["positive"]
    return found["value.0.1.concat_latent_image"]


def test_grey_and_alpha_mean_what_they_show(studio: Studio) -> None:
    grey = picture(SIZE, SIZE)[..., :1]
    colour = grey.expand(1, SIZE, SIZE, 3)
    alpha = torch.cat([colour, torch.rand(1, SIZE, SIZE, 1)], dim=-1)
    expected = guidance_latent(studio, colour)
    # Another memory layout rounds otherwise.
    for image in (grey, alpha):
        assert (guidance_latent(studio, image) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("images", "videos", "works"), [(2, 1, True), (2, 2, True), (3, 2, False), (2, 4, False)]
)
def test_image_batches(studio: Studio, graph: Graph, images: int, videos: int, works: bool) -> None:
    batch = torch.cat([picture(SIZE, SIZE, phase) for phase in range(images)])
    image = studio.image(graph, batch)
    made = bare(studio, graph).context(image)
    made.detail(image, SIZE, SIZE, FRAMES, batch_size=videos)
    if not works:
        assert "one for each video" in refused(studio, graph, made.latent)
        return
    found = runs(studio, graph, latent=made.sample(steps=1))["latent"]["value.samples"]
    assert found.shape[0] == images * FRAMES


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"], ids=str)
def test_picture_files_that_are_none(studio: Studio, graph: Graph, data: bytes) -> None:
    (studio.server.base / "input" / "broken.png").write_bytes(data)
    image = graph.add("LoadImage", image="broken.png")[0]
    error = outcome(studio, graph, into_guidance(studio, graph, image))
    assert error is not None
    assert error.node_type == "LoadImage"


# -- widgets ---------------------------------------------------------------------------------------

SAMPLER_VALUES: list[tuple[str, Any]] = [
    *(("steps", v) for v in (0, -1, 1001, "many", NAN, INF, None)),
    *(("cfg", v) for v in (-1.0, 101.0, NAN, INF, -INF, "nan", "strong")),
    *(("image_cfg", v) for v in (-0.1, 1e9, NAN, "nan")),
    *(("eta", v) for v in (-0.5, 1.5, NAN, INF, "nan")),
    *(("denoise", v) for v in (-0.5, 1.5, NAN, "nan")),
    *(("guidance_rescale", v) for v in (-2.0, 1.5, NAN, INF)),
    *(("start_timestep", v) for v in (0, -1, 1001, NAN)),
    *(("seed", v) for v in (-1, 2**64, "x", NAN)),
    *(("spacing", v) for v in ("", "linear", 3)),
    *(("ending", v) for v in ("", "dirty")),
]


@pytest.mark.parametrize(("widget", "value"), SAMPLER_VALUES, ids=str)
def test_sampler_values(studio: Studio, graph: Graph, widget: str, value: Any) -> None:
    scene = Scene(studio, graph)
    link = scene.sample(**{"steps": 1, **({widget: value} if value is not None else {})})
    if value is None:
        del graph.prompt[link[0]]["inputs"][widget]
    message = refused(studio, graph, link)
    assert widget in message


GUIDANCE_VALUES: list[tuple[str, Any]] = [
    *(("width", v) for v in (0, -8, 7, 68, 9000, NAN, "wide")),
    *(("height", v) for v in (0, -8, 12, 8200)),
    *(("length", v) for v in (0, -1, 1025, NAN)),
    *(("batch_size", v) for v in (0, -1, 65)),
    *(("fps", v) for v in (-1, 1001, NAN)),
    *(("mode", v) for v in ("", "dance")),
    *(("fit", v) for v in ("", "squeeze")),
]


@pytest.mark.parametrize(("widget", "value"), GUIDANCE_VALUES, ids=str)
def test_guidance_values(studio: Studio, graph: Graph, widget: str, value: Any) -> None:
    image = studio.image(graph, picture(SIZE, SIZE))
    settings = {"width": SIZE, "height": SIZE, "length": FRAMES, widget: value}
    made = bare(studio, graph).detail(image, **settings)
    assert widget in refused(studio, graph, made.latent)


@pytest.mark.parametrize("node", ["image to video", "text to video"])
def test_a_video_larger_than_the_memory(studio: Studio, graph: Graph, node: str) -> None:
    size = {"width": 8192, "height": 8192, "length": 1024, "batch_size": 64}
    made = bare(studio, graph)
    if node == "image to video":
        image = studio.image(graph, picture(SIZE, SIZE))
        link = made.detail(image, **size).latent
    else:
        texts = {"positive": made.positive, "negative": made.negative}
        link = graph.add("DynamiCrafterEmptyVideo", **texts, **size, fps=0)[2]
    assert "choose a smaller size" in refused(studio, graph, link)


OTHER_VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("DynamiCrafterDDIM", {"eta": NAN}, "eta"),
    ("DynamiCrafterScheduler", {"denoise": NAN}, "denoise"),
    ("DynamiCrafterScheduler", {"steps": 0}, "steps"),
    ("DynamiCrafterGuider", {"cfg": NAN}, "cfg"),
    ("DynamiCrafterGuider", {"guidance_rescale": NAN}, "guidance_rescale"),
    ("DynamiCrafterLambda", {"outer_layers": NAN}, "outer_layers"),
    ("DynamiCrafterLambda", {"middle_layers": -1.0}, "middle_layers"),
    ("DynamiCrafterLambda", {"per_layer": "nan"}, "per_layer"),
    ("DynamiCrafterLambda", {"per_layer": "1e400"}, "per_layer"),
    ("DynamiCrafterLambda", {"per_layer": "1,,2"}, "per_layer"),
    ("DynamiCrafterLambda", {"per_layer": "__import__('os')"}, "per_layer"),
    ("DynamiCrafterAnalyticInit", {"start_timestep": 0}, "start_timestep"),
    ("DynamiCrafterAnalyticInit", {"init_file": "../../secret.pt"}, "init_file"),
    ("DynamiCrafterAnalyticInit", {"init_file": "/etc/passwd"}, "init_file"),
]
DEFAULTS: dict[str, dict[str, Any]] = {
    "DynamiCrafterDDIM": {},
    "DynamiCrafterScheduler": {
        "steps": 2,
        "spacing": "auto",
        "denoise": 1.0,
        "ending": "clean",
        "start_timestep": 1000,
    },
    "DynamiCrafterGuider": {"cfg": 7.5, "image_cfg": 7.5, "guidance_rescale": -1.0},
    "DynamiCrafterLambda": {"outer_layers": 1.0, "middle_layers": 1.0, "per_layer": ""},
    "DynamiCrafterAnalyticInit": {"init_file": "built-in", "seed": 1, "start_timestep": 940},
}


@pytest.mark.parametrize(("node", "values", "fragment"), OTHER_VALUES, ids=str)
def test_other_values(
    studio: Studio, graph: Graph, node: str, values: dict[str, Any], fragment: str
) -> None:
    scene = Scene(studio, graph)
    wired: dict[str, Any] = {} if node == "DynamiCrafterDDIM" else {"model": scene.model}
    if node == "DynamiCrafterGuider":
        wired |= {"positive": scene.positive, "negative": scene.negative}
    made = graph.add(node, **wired, **{**DEFAULTS[node], **values})
    assert fragment in refused(studio, graph, made[0])


# -- latents, noise and connections ----------------------------------------------------------------

LATENTS: dict[str, tuple[Tensor, int, str | None]] = {
    "16 channels": (torch.ones(4, 16, 8, 8), 4, "expected [frames, 4"),
    "one channel": (torch.ones(4, 1, 8, 8), 4, "expected [frames, 4"),
    "three axes": (torch.ones(4, 4, 8), 4, "expected [frames, 4"),
    "five axes": (torch.ones(1, 4, 4, 8, 8), 4, "expected [frames, 4"),
    "NaN": (torch.full((4, 4, 8, 8), NAN), 4, "not finite"),
    "infinite": (torch.full((4, 4, 8, 8), INF), 4, "not finite"),
    "frames that do not divide": (torch.ones(4, 4, 8, 8), 3, None),
    "another size": (torch.ones(4, 4, 6, 10), 4, None),
    "one frame": (torch.ones(1, 4, 8, 8), 1, None),
}


@pytest.mark.parametrize("consumer", ["sampler", "decode"])
@pytest.mark.parametrize("name", list(LATENTS))
def test_latents(studio: Studio, graph: Graph, name: str, consumer: str) -> None:
    samples, frames, fragment = LATENTS[name]
    scene = Scene(studio, graph)
    latent = studio.latent(graph, samples, frames)
    if consumer == "sampler":
        scene.latent = latent
        link = scene.sample(steps=1)
    else:
        link = decode(graph, scene.vae, latent)
    if fragment is None:
        runs(studio, graph, result=link)
    else:
        assert fragment in refused(studio, graph, link)


def decode(graph: Graph, vae: Link, latent: Link) -> Link:
    return graph.add(
        "DynamiCrafterVideoDecode",
        vae=vae,
        samples=latent,
        chunk_frames=0,
        tile_size=0,
        drop_last_frame=False,
    )[0]


@pytest.mark.parametrize("value", [NAN, INF])
def test_noise_that_is_not_finite_names_the_step(
    studio: Studio, graph: Graph, value: float
) -> None:
    scene = Scene(studio, graph)
    noise = unit_noise(0)
    noise[1, 2, 3, 4] = value
    link = scene.sample(steps=3, noise=studio.noise(graph, noise))
    message = refused(studio, graph, link)
    assert "after step 1 of 3" in message
    assert "not finite" in message


@pytest.mark.parametrize("part", ["model", "positive", "negative", "latent"])
def test_a_connection_that_is_not_there(studio: Studio, graph: Graph, part: str) -> None:
    link = Scene(studio, graph).sample(steps=1)
    del graph.prompt[link[0]]["inputs"][part]
    assert part in refused(studio, graph, link)


@pytest.mark.parametrize("part", ["model", "positive", "negative", "latent"])
def test_a_connection_of_another_type(studio: Studio, graph: Graph, part: str) -> None:
    scene = Scene(studio, graph)
    link = scene.sample(steps=1)
    graph.prompt[link[0]]["inputs"][part] = scene.picture
    assert part in refused(studio, graph, link)


# -- checkpoints -----------------------------------------------------------------------------------

UNET = "model.diffusion_model."


def loaded(studio: Studio, graph: Graph, name: Any) -> Link:
    options = {"variant": "auto", "weight_dtype": "fp32"}
    return graph.add("DynamiCrafterCheckpointLoader", ckpt_name=name, **options)[0]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "../../models/checkpoints/small-512-0.safetensors",
        "..\\secret.safetensors",
        "/etc/passwd",
        "sub/../../secret.ckpt",
        "",
        "\0",
        7,
        NAN,
        {"a": 1},
    ],
    ids=str,
)
def test_names_outside_the_model_folders(studio: Studio, graph: Graph, name: Any) -> None:
    studio.small_checkpoint("512")
    (studio.checkpoints.parent / "secret.safetensors").write_bytes(b"secret")
    (studio.checkpoints.parent / "secret.ckpt").write_bytes(b"secret")
    message = refused(studio, graph, loaded(studio, graph, name))
    assert "not in" in message or "ckpt_name" in message


class Hostile:
    """Its unpickling would write a file."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_runs_no_code(studio: Studio, graph: Graph, tmp_path: Path, zipped: bool) -> None:
    canary = tmp_path / "canary"
    path = studio.checkpoints / f"hostile-{zipped}.ckpt"
    content = {"state_dict": {UNET + "a": torch.zeros(1)}, "hook": Hostile(canary)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    message = refused(studio, graph, loaded(studio, graph, path.name))
    path.unlink()
    assert path.name in message
    assert "can run code" in message
    assert not canary.exists()


def test_a_header_of_a_petabyte(studio: Studio, graph: Graph) -> None:
    size = 10**15
    header = {"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    path = studio.checkpoints / "petabyte.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    message = refused(studio, graph, loaded(studio, graph, path.name))
    path.unlink()
    assert "its header tells of" in message


Edit = Callable[[dict[str, Tensor]], None]


def change(key: str, value: Callable[[Tensor], Tensor]) -> Edit:
    def edit(tensors: dict[str, Tensor]) -> None:
        tensors[key] = value(tensors[key])

    return edit


def drop(key: str) -> Edit:
    def edit(tensors: dict[str, Tensor]) -> None:
        del tensors[key]

    return edit


def wider(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor])


def as_nan(tensor: Tensor) -> Tensor:
    return torch.full_like(tensor, NAN)


CONV = UNET + "input_blocks.1.0.in_layers.2.weight"
VAE_CONV = "first_stage_model.decoder.conv_in.weight"
TEXT = "cond_stage_model.model.ln_final.weight"
TEXT_LAYER = "cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.weight"
VISION = "embedder.model.visual.ln_post.weight"
VISION_CONV = "embedder.model.visual.conv1.weight"
PROJECTOR = "image_proj_model.proj_out.weight"

BROKEN: dict[str, Edit] = {
    "wide U-Net": change(CONV, wider),
    "flat U-Net": change(CONV, torch.flatten),
    "scalar U-Net": change(CONV, torch.sum),
    "no U-Net input": drop(UNET + "input_blocks.0.0.weight"),
    "no U-Net output": drop(UNET + "out.2.weight"),
    "missing U-Net layer": drop(UNET + "middle_block.0.in_layers.0.weight"),
    "unknown U-Net layer": lambda t: t.update({UNET + "extra.weight": torch.ones(1)}),
    "U-Net twice": lambda t: t.update({"_forward_module." + CONV: t[CONV]}),
    "layer number a billion": lambda t: t.update(
        {UNET + "input_blocks.999999999.0.op.weight": torch.ones(1)}
    ),
    "wide VAE": change(VAE_CONV, wider),
    "flat VAE": change(VAE_CONV, torch.flatten),
    "no VAE decoder": drop(VAE_CONV),
    "VAE level a billion": lambda t: t.update(
        {"first_stage_model.encoder.down.999999999.block.0.conv2.weight": torch.ones(1)}
    ),
    "wide text encoder": change(TEXT_LAYER, wider),
    "flat text encoder": change(TEXT_LAYER, torch.flatten),
    "no end of the text encoder": drop(TEXT),
    "text layer a billion": lambda t: t.update(
        {"cond_stage_model.model.transformer.resblocks.999999999.ln_1.weight": torch.ones(1)}
    ),
    "wide image encoder": change(VISION, wider),
    "flat image encoder": change(VISION_CONV, torch.flatten),
    "no image convolution": drop(VISION_CONV),
    "wide projector": change(PROJECTOR, wider),
    "scalar projector": change(PROJECTOR, torch.sum),
    "no projector latents": drop("image_proj_model.latents"),
    "flat projector latents": change("image_proj_model.latents", torch.flatten),
    "short schedule": change("alphas_cumprod", lambda t: t[:10]),
    "empty schedule": change("alphas_cumprod", lambda t: t[:0]),
    "NaN schedule": change("alphas_cumprod", as_nan),
    "rising schedule": change("alphas_cumprod", lambda t: t.flip(0)),
    "scalar schedule": change("alphas_cumprod", torch.sum),
    "negative scale": change("scale_arr", torch.neg),
    "short scale": change("scale_arr", lambda t: t[:10]),
}


@pytest.fixture(scope="module")
def tensors(studio: Studio) -> dict[str, Tensor]:
    return load_file(studio.checkpoints / studio.small_checkpoint("512"))


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_checkpoints(
    studio: Studio, graph: Graph, tensors: dict[str, Tensor], name: str
) -> None:
    path = studio.checkpoints / f"broken {name}.safetensors"
    edited = dict(tensors)
    BROKEN[name](edited)
    metadata = {"dynamicrafter": json.dumps({"variant": "512"})}
    save_file({k: v.contiguous().clone() for k, v in edited.items()}, path, metadata)
    message = refused(studio, graph, loaded(studio, graph, path.name))
    path.unlink()
    assert path.name in message


METADATA = [
    "no json",
    "[" * 100_000,
    "[1]",
    '"512"',
    '{"variant": "no such"}',
    '{"variant": 7}',
    '{"variant": ["512"]}',
    '{"variant": "512", "head_dim": 0}',
    '{"variant": "512", "head_dim": -64}',
    '{"variant": "512", "head_dims": "wide"}',
    '{"variant": "512", "head_dims": {"unet": 0}}',
    '{"variant": "512", "head_dims": {"unet": 1e9}}',
    '{"variant": "512", "head_dims": {"unet": NaN}}',
    '{"variant": "512", "head_dims": {"projector": -3}}',
]


@pytest.mark.parametrize("text", METADATA, ids=lambda text: text[:40])
def test_any_metadata(studio: Studio, graph: Graph, tensors: dict[str, Tensor], text: str) -> None:
    """Unknown statements are passed over; wrong ones are named."""
    path = studio.checkpoints / f"metadata-{abs(hash(text))}.safetensors"
    save_file(tensors, path, {"dynamicrafter": text})
    error = outcome(studio, graph, loaded(studio, graph, path.name))
    path.unlink()
    if error is not None:
        assert error.exception_type.endswith(OWN_ERRORS), f"{error.exception_type}: {error}"
        assert path.name in str(error)


NAN_WEIGHTS = {
    "U-Net": (UNET + "out.2.weight", "after step 1"),
    "VAE": (VAE_CONV, "The decoded video"),
    "VAE encoder": ("first_stage_model.encoder.conv_in.weight", "The encoded image"),
    "projector": (PROJECTOR, "The image's context"),
    "image encoder": (VISION_CONV, "The image's context"),
    "text encoder": (TEXT, "after step 1"),
}


@pytest.mark.parametrize("part", list(NAN_WEIGHTS))
def test_nan_weights_name_stage_cause_and_setting(studio: Studio, graph: Graph, part: str) -> None:
    key, stage = NAN_WEIGHTS[part]
    file = studio.small_checkpoint("512", name=f"-nan-{part}", edit=change(key, as_nan))
    scene = Scene(studio, graph, checkpoint=file)
    message = refused(studio, graph, decode(graph, scene.vae, scene.sample(steps=2)))
    (studio.checkpoints / file).unlink()
    assert stage in message
    assert "not finite" in message
    assert "probably" in message
    assert "download" in message or "load" in message


def test_the_server_still_gives_the_same_video(studio: Studio) -> None:
    """After all of the above, and again after forgetting everything."""
    results = []
    for _ in range(2):
        graph = Graph()
        scene = Scene(studio, graph)
        results.append(runs(studio, graph, latent=scene.sample(steps=2))["latent"])
        studio.server.free_memory()
    assert torch.equal(results[0]["value.samples"], results[1]["value.samples"])
