"""The published pipeline in plain PyTorch, case by case."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import small_checkpoint
import torch
from safetensors.torch import load_file, save_file
from small_checkpoint import UNET_PROJECTOR_VAE, golden_tensors, write_golden
from torch import Tensor

from dc_model import vdg
from dc_model.checkpoint.errors import CheckpointError
from dc_model.pipeline import Pipeline, Settings, load
from dc_model.variants import VARIANTS

TOLERANCE, ENCODER_TOLERANCE = 1e-3, 1e-4


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module", params=["256_animate", "512_interp", "512_two_scales"])
def case(request: pytest.FixtureRequest, golden: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A golden case: its settings and tensors."""
    folder = golden / "pipeline"
    described = json.loads((folder / f"{request.param}.json").read_text(encoding="utf-8"))
    return described["case"], load_file(folder / f"{request.param}.safetensors")


@pytest.fixture(scope="module")
def pipeline(case: Any, golden: Path, comfyui: Path, tmp_path_factory: Any) -> Pipeline:
    name = case[0]["name"]
    path = tmp_path_factory.mktemp("files") / f"{name}.safetensors"
    write_golden(golden / "pipeline" / f"{name}.json", path)
    return load(path, tokenizer=comfyui / "comfy" / "sd1_tokenizer")


def picture(tensors: dict[str, Tensor], key: str) -> Tensor:
    """`[1, 3, H, W]` in [-1, 1]."""
    return tensors[key][None].permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_published_pipeline(case: Any, pipeline: Pipeline) -> None:
    settings, tensors = case
    image, frames = picture(tensors, "image"), settings["frames"]
    z = pipeline.encode(image)
    assert relative_error(z, tensors["z_first"].reshape(z.shape)) < ENCODER_TOLERANCE
    text = pipeline.encode_text([settings["prompt"], ""])
    assert relative_error(text[:1], tensors["text"]) < ENCODER_TOLERANCE
    assert relative_error(text[1:], tensors["null_text"]) < ENCODER_TOLERANCE
    tokens = pipeline.image_tokens(image)
    assert tokens is not None
    assert relative_error(tokens, tensors["clip_tokens"]) < ENCODER_TOLERANCE

    if settings["mode"] == "interp":
        last = pipeline.encode(picture(tensors, "image2"))
        concat = vdg.interpolate(z, last, frames)
    else:
        concat = vdg.animate(z, frames)
    latents = pipeline.sample(
        concat,
        [settings["prompt"]],
        image,
        Settings(
            speed=settings["fs"],
            steps=settings["steps"],
            cfg=settings["cfg"],
            image_cfg=settings.get("cfg_img"),
            eta=settings["eta"],
            ending="published",
        ),
        generator=torch.Generator(),
        noise=tensors["x_T"].reshape(concat.shape),
    )
    assert relative_error(latents, tensors["latent"].reshape(latents.shape)) < TOLERANCE
    expected = tensors["frames"].clamp(-1, 1).permute(3, 0, 1, 2)[None]
    assert relative_error(pipeline.decode(latents), expected) < TOLERANCE


def test_every_mode_makes_a_video(case: Any, pipeline: Pipeline) -> None:
    if case[0]["name"] != "512_interp":
        return
    image, settings = picture(case[1], "image"), Settings(num_frames=3, steps=1, cfg=1.0)
    height, width = image.shape[-2:]
    animated = pipeline.animate(image, "a boat", settings)
    assert animated.shape == (1, 3, 3, height, width)
    assert animated.abs().max() <= 1
    assert torch.equal(animated, pipeline.animate(image, "a boat", settings))
    between = pipeline.interpolate(image, -image, "a boat", settings)
    assert between.shape == (1, 3, 3, height, width)
    assert pipeline.loop(image, "a boat", settings).shape == (1, 3, 2, height, width)
    assert pipeline.variant is VARIANTS["512_interp"]  # by the file's name


def test_a_missing_encoder_is_named_and_lent(golden: Path, tmp_path: Path) -> None:
    described = golden / "pipeline" / "512_frames8.json"
    whole, pruned = tmp_path / "whole.safetensors", tmp_path / "pruned.safetensors"
    tensors = golden_tensors(described)
    save_file(tensors, whole)
    save_file({k: v for k, v in tensors.items() if k.startswith(UNET_PROJECTOR_VAE)}, pruned)

    def tokenize(captions: list[str]) -> Tensor:
        return torch.zeros(len(captions), 77, dtype=torch.long)

    with pytest.raises(CheckpointError, match=r"pruned\.safetensors: It lacks the text tower.*the"):
        load(pruned, tokenizer=tokenize, variant="512")
    lent = load(pruned, tokenizer=tokenize, variant="512", encoders=whole)
    assert lent.encode_text([""]).shape == (1, 77, 128)


def test_a_folder_without_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no vocab\.json.*sd1_tokenizer"):
        load("any.ckpt", tokenizer=tmp_path)


@pytest.fixture(scope="module")
def small(golden: Path, comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Pipelines of small random models, by variant."""
    folder, lender = tmp_path_factory.mktemp("small"), golden / "pipeline" / "512_frames8.json"

    @cache
    def of(variant: str) -> Pipeline:
        path = small_checkpoint.write(lender, folder / f"{variant}.safetensors", variant, wide=True)
        return load(path, tokenizer=comfyui / "comfy" / "sd1_tokenizer")

    return of


QUICK = Settings(num_frames=4, steps=1, cfg=1.0)
PICTURE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_tooncrafter_draws_its_ends_from_both_images(small: Any) -> None:
    pipeline: Pipeline = small("toon_512")
    video = pipeline.interpolate(PICTURE, -PICTURE, "a cloud", QUICK)
    assert video.shape == (1, 3, 4, 64, 64)
    assert video.isfinite().all()
    latents = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    plain = pipeline.decode(latents)
    detailed = pipeline.decode(latents, (PICTURE, -PICTURE))
    other_end = pipeline.decode(latents, (PICTURE, PICTURE))
    assert relative_error(detailed, plain) > 0.01
    # The last image acts on the last frame; convolutions along time carry it to the one before.
    changed = (detailed - other_end).abs().mean(dim=(0, 1, 3, 4))
    assert changed[-2:].min() > 10 * changed[:-2].max()
    moments = pipeline.vae.encode(PICTURE)  # type: ignore[operator]
    assert torch.equal(pipeline.encode(PICTURE), moments[:, :4] * 0.18215)


def test_text_alone_makes_a_video(small: Any) -> None:
    pipeline: Pipeline = small("videocrafter2")
    videos = [pipeline.generate(text, (64, 48), QUICK) for text in ("a boat", "a red cat")]
    assert videos[0].shape == (1, 3, 4, 64, 48)
    assert relative_error(videos[1], videos[0]) > 1e-3
    with pytest.raises(ValueError, match="call `generate`"):
        pipeline.animate(PICTURE, "a boat")
    with pytest.raises(ValueError, match="call `animate`"):
        small("toon_512").generate("a boat")


def test_an_image_may_act_by_its_context_alone(small: Any) -> None:
    pipeline: Pipeline = small("videocrafter1_i2v")
    videos = [pipeline.animate(image, "a boat", QUICK) for image in (PICTURE, -PICTURE)]
    assert videos[0].shape == (1, 3, 4, 64, 64)
    assert relative_error(videos[1], videos[0]) > 1e-3
    with pytest.raises(ValueError, match="no visual detail guidance"):
        pipeline.loop(PICTURE, "a boat")
