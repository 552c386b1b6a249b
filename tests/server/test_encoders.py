"""Encoders of the wrong kind are refused where they are connected, naming the file to load."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from family import LENGTH, SIZE, bare, k_sampler, wire
from graphs import Graph
from outcome import decode as decoded
from safetensors.torch import save_file
from studio import Animation, Studio, picture
from torch import Tensor

pytestmark = pytest.mark.server

Tensors = dict[str, Tensor]


def cut(prefix: str, sizes: set[int]) -> Callable[[Tensors], None]:
    """Halves every axis of one of these sizes in a part: an encoder of half the width."""

    def edit(tensors: Tensors) -> None:
        for key in [k for k in tensors if k.startswith(prefix)]:
            tensor = tensors[key]
            axes = tuple(slice(n // 2 if n in sizes else n) for n in tensor.shape)
            tensors[key] = tensor[axes].clone() if axes else tensor

    return edit


def small_pictures(tensors: Tensors) -> None:
    """An image tower for pictures of 56 pixels."""
    key = "embedder.model.visual.positional_embedding"
    tensors[key] = tensors[key][: 4 * 4 + 1].clone()


def eight_channels(tensors: Tensors) -> None:
    """A VAE with 8 latent channels."""
    for key in [k for k in tensors if k.startswith("first_stage_model.")]:
        name, tensor = key.removeprefix("first_stage_model."), tensors[key]
        if name.startswith(("encoder.conv_out.", "quant_conv.", "post_quant_conv.")):
            tensor = torch.cat([tensor, tensor])
        if name in ("quant_conv.weight", "post_quant_conv.weight", "decoder.conv_in.weight"):
            tensor = torch.cat([tensor, tensor], dim=1)
        tensors[key] = tensor


def without(*prefixes: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        for key in [k for k in tensors if k.startswith(prefixes)]:
            del tensors[key]

    return edit


TEXT = cut("cond_stage_model.", {128, 384, 512})
VISION = cut("embedder.model.visual.", {160, 480, 640})


def other(studio: Studio, graph: Graph, name: str, edit: Callable[[Tensors], None]) -> Animation:
    return Animation(studio, graph, studio.small_checkpoint("512", name=name, edit=edit))


def test_text_of_another_width_is_refused_beside_the_projector(
    studio: Studio, graph: Graph
) -> None:
    made = Animation(studio, graph, bare(studio, "512"))
    made.clip = other(studio, graph, "-text64", TEXT).clip
    made.text("a ball").context(studio.image(graph, picture(SIZE, SIZE)))
    assert made.positive is not None
    message = studio.error(graph, made.positive)
    assert "DynamiCrafterContextProjection" in message
    assert "64 channels" in message
    assert "needs 128" in message
    assert "OpenCLIP ViT-H" in message


@pytest.mark.parametrize("ours", [True, False], ids=["our sampler", "stock sampler"])
def test_text_of_another_width_is_refused_by_text_to_video_models(
    studio: Studio, graph: Graph, ours: bool
) -> None:
    made = Animation(studio, graph, bare(studio, "videocrafter2"))
    made.clip = other(studio, graph, "-text64", TEXT).clip
    made.text("a ball").empty(SIZE, LENGTH)
    latent = made.sample() if ours else k_sampler(graph, made)
    message = studio.error(graph, latent)
    assert "64 channels, this model needs 128" in message


def test_image_tokens_of_another_width_are_refused(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, bare(studio, "512")).text("a ball")
    made.clip_vision = other(studio, graph, "-vision80", VISION).clip_vision
    made.context(studio.image(graph, picture(SIZE, SIZE)))
    assert made.positive is not None
    message = studio.error(graph, made.positive)
    assert "257 x 80 tokens" in message
    assert "needs 160" in message
    assert "CLIP-ViT-H-14-laion2B-s32B-b79K" in message


def test_an_image_encoder_for_other_pictures_is_refused(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, bare(studio, "512")).text("a ball")
    made.clip_vision = other(studio, graph, "-vision56", small_pictures).clip_vision
    made.context(studio.image(graph, picture(SIZE, SIZE)))
    message = studio.error(graph, made.encoded[0])
    assert "56 pixels" in message
    assert "takes 224" in message
    assert "CLIP-ViT-H-14-laion2B-s32B-b79K" in message


def detail(studio: Studio, graph: Graph, vae: Any) -> str:
    made = Animation(studio, graph, bare(studio, "512")).text("a ball")
    image = studio.image(graph, picture(SIZE, SIZE))
    made.context(image)
    made.vae = vae
    made.detail(image, SIZE, SIZE, LENGTH)
    assert made.latent is not None
    return studio.error(graph, made.latent)


def test_a_vae_with_other_latents_is_refused(studio: Studio, graph: Graph) -> None:
    vae = other(studio, graph, "-vae8", eight_channels).vae
    message = detail(studio, graph, vae)
    assert "4 channels" in message
    assert "vae-ft-mse" in message


@pytest.mark.parametrize("decode", [True, False])
def test_a_vae_of_another_family_is_refused_before_it_runs(
    studio: Studio, graph: Graph, decode: bool
) -> None:
    folder = studio.server.base / "models" / "vae"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"taesd_decoder.1.weight": torch.zeros(64, 16, 3, 3)}, folder / "tae16.safetensors")
    vae = graph.add("VAELoader", vae_name="tae16.safetensors")[0]
    if decode:
        latent = studio.latent(graph, torch.zeros(2, 4, 8, 8))
        message = studio.error(graph, decoded(graph, vae, latent))
    else:
        message = detail(studio, graph, vae)
    assert "16 channels, this model's have 4" in message
    assert "vae-ft-mse" in message


@pytest.mark.parametrize(
    ("part", "prefix", "file"),
    [
        ("clip_vision", "embedder.", "CLIP-ViT-H-14-laion2B-s32B-b79K"),
        ("projector", "image_proj_model.", "image_proj_model"),
        ("vae", "first_stage_model.", "vae-ft-mse-840000-ema-pruned"),
    ],
)
def test_a_part_that_a_file_lacks_is_named_with_the_file_to_load(
    studio: Studio, graph: Graph, part: str, prefix: str, file: str
) -> None:
    made = Animation(studio, graph, bare(studio, "512")).text("a ball")
    lacking = other(studio, graph, f"-no-{part}", without(prefix))
    setattr(made, part, getattr(lacking, part))
    image = studio.image(graph, picture(SIZE, SIZE))
    made.context(image).detail(image, SIZE, SIZE, LENGTH)
    assert made.positive is not None
    message = studio.error(graph, made.positive)
    assert "got no" in message
    assert file in message
    assert file in studio.server.log


@pytest.mark.parametrize("ours", [True, False], ids=["our sampler", "stock sampler"])
@pytest.mark.parametrize(
    ("skipped", "node"),
    [("context", "Query-Transformer Projection"), ("detail", "Visual Detail Guidance")],
)
def test_a_missing_connection_names_the_node_to_put_in(
    studio: Studio, graph: Graph, skipped: str, node: str, ours: bool
) -> None:
    made = Animation(studio, graph, bare(studio, "512")).text("a ball")
    image = studio.image(graph, picture(SIZE, SIZE))
    if skipped == "detail":
        made.context(image)
        made.latent = studio.latent(graph, torch.zeros(LENGTH, 4, 8, 8), LENGTH)
    else:
        made.detail(image, SIZE, SIZE, LENGTH)
    message = studio.error(graph, made.sample() if ours else k_sampler(graph, made))
    assert node in message


@pytest.mark.parametrize("ours", [True, False], ids=["our sampler", "stock sampler"])
def test_an_image_that_the_model_would_not_see_is_refused(
    studio: Studio, graph: Graph, ours: bool
) -> None:
    made = Animation(studio, graph, bare(studio, "videocrafter1_i2v")).text("a ball")
    image = studio.image(graph, picture(SIZE, SIZE))
    made.context(image).detail(image, SIZE, SIZE, LENGTH)
    message = studio.error(graph, made.sample() if ours else k_sampler(graph, made))
    assert "takes none (4 input channels): put Empty Video" in message


def test_the_projector_of_another_checkpoint_is_refused(studio: Studio, graph: Graph) -> None:
    def narrow(tensors: Tensors) -> None:
        for name in ("proj_out.weight", "proj_out.bias", "norm_out.weight", "norm_out.bias"):
            key = f"image_proj_model.{name}"
            tensors[key] = tensors[key][:64].clone()

    made = Animation(studio, graph, bare(studio, "512")).text("a ball")
    made.projector = other(studio, graph, "-narrow", narrow).projector
    made.context(studio.image(graph, picture(SIZE, SIZE)))
    assert made.positive is not None
    assert "128 channels, this model needs 64" in studio.error(graph, made.positive)


def test_the_wired_family_runs(studio: Studio, graph: Graph) -> None:
    """The counterpart of the refusals: the same graph with the right parts."""
    latent = wire(studio, graph, "512").sample(steps=1)
    assert studio.run(graph, latent=latent)["latent"]["value.samples"].isfinite().all()
