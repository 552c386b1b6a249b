"""Hostile and broken checkpoint files, as the loader node meets them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import Graph, Link
from outcome import NAN, decode, refused, runs
from safetensors.torch import load_file, save_file
from scene import Scene
from studio import Studio
from torch import Tensor

pytestmark = pytest.mark.server

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
    assert "download the file again" in message


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


# Statement -> what is said of it.
METADATA = {
    "no json": "is not JSON",
    "[" * 100_000: "is not JSON",
    "[1]": "is not a JSON object",
    '"512"': "is not a JSON object",
    '{"variant": "no such"}': "names the variant no such",
    '{"variant": 7}': "names the variant 7",
    '{"variant": ["512"]}': "names the variant",
    '{"head_dim": 0}': "has head_dim 0; expected widths by part",
    '{"head_dim": "wide"}': "has head_dim wide",
    '{"head_dim": {"unet": 0}}': "has head_dim",
    '{"head_dim": {"unet": 1e9}}': "has head_dim",
    '{"head_dim": {"unet": 1000000000}}': "has head_dim",
    '{"head_dim": {"unet": NaN}}': "has head_dim",
    '{"head_dim": {"projector": -3}}': "has head_dim",
    '{"head_dim": {"tower": 64}}': "has head_dim",
    # Heads that do not make up a width.
    '{"head_dim": {"unet": 7}}': "is not made of heads of 7",
    '{"head_dim": {"projector": 7}}': "is not made of heads of 7",
    '{"head_dim": {"text_encoder": 7}}': "text encoder has an unknown layout (its width of 128",
    '{"head_dim": {"image_encoder": 7}}': "image encoder has an unknown layout (its width of 160",
}


@pytest.mark.parametrize("text", list(METADATA), ids=lambda text: text[:40])
def test_wrong_metadata_is_named(
    studio: Studio, graph: Graph, tensors: dict[str, Tensor], text: str
) -> None:
    path = studio.checkpoints / f"metadata-{list(METADATA).index(text)}.safetensors"
    save_file(tensors, path, {"dynamicrafter": text})
    message = refused(studio, graph, loaded(studio, graph, path.name))
    path.unlink()
    assert path.name in message
    assert METADATA[text] in message


NAN_WEIGHTS = {
    "U-Net": (UNET + "out.2.weight", "after step 1"),
    "VAE": (VAE_CONV, "The decoded video"),
    "VAE encoder": ("first_stage_model.encoder.conv_in.weight", "The encoded image"),
    "projector": (PROJECTOR, "The image's context"),
    "image encoder": (VISION_CONV, "The image's context"),
    "text encoder": (TEXT, "positive has numbers"),
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
        studio.forget()
    assert torch.equal(results[0]["value.samples"], results[1]["value.samples"])
