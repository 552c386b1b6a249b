"""Pipelines of diffusers: I2VGen-XL of its real classes, tiny and with random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.items import Item, ItemError
from evaluation.protocol import DataSet, Protocol
from evaluation.systems.base import SystemStopped
from evaluation.systems.pipeline import PipelineSystem, frames_of
from training.data.clip import Clip

FRAMES, SIZE = 2, 64
PROTOCOL = Protocol(
    data=DataSet(kind="table", path="clips.csv"), clips=2, frames=FRAMES, size=(SIZE, SIZE)
)


@pytest.fixture
def item(tmp_path: Path) -> Item:
    frames = torch.linspace(-1, 1, FRAMES).view(-1, 1, 1, 1).expand(-1, 3, SIZE, SIZE)
    clip = Clip("boat.mp4 0 1", frames, "a boat", "a boat", 8.0, 1)
    return Item(7, clip, 1, tmp_path / "00007.mp4")


def towers(width: int) -> tuple[Any, Any, Any]:
    """Text tower, image tower and picture preparation of CLIP, two layers each."""
    from transformers.models.clip import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModel,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    layers: dict[str, Any] = {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": width,
    }
    layers |= {"intermediate_size": width, "projection_dim": width}
    text = CLIPTextConfig(vocab_size=16, max_position_embeddings=8, **layers)
    vision = CLIPVisionConfig(image_size=32, patch_size=16, **layers)
    pictures = CLIPImageProcessor(size=32, crop_size=32)
    return CLIPTextModel(text), CLIPVisionModelWithProjection(vision), pictures


def tokenizer(folder: Path) -> Any:
    from transformers.models.clip import CLIPTokenizer

    words = ["a</w>", "b", "o", "t</w>", "a", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = {name: str(folder / name) for name in ("vocab.json", "merges.txt")}
    return CLIPTokenizer(files["vocab.json"], files["merges.txt"], model_max_length=8)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """I2VGen-XL's folder as diffusers saves it, two levels of 8 and 16 channels."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    folder = tmp_path_factory.mktemp("pipeline")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = diffusers.I2VGenXLUNet(
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=16,
            # The number of heads: more than channels leave 0 channels for each.
            attention_head_dim=4,
        )
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
        )
        text, vision, pictures = towers(16)
    made = diffusers.I2VGenXLPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer(folder),
        image_encoder=vision,
        feature_extractor=pictures,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(clip_sample=False),
    )
    made.save_pretrained(folder / "i2vgen")
    return folder / "i2vgen"


def system(folder: Path, **options: Any) -> PipelineSystem:
    given = {"num_inference_steps": 2, **options}
    return PipelineSystem(name="I2VGen-XL", kind="diffusers", pipeline=str(folder), options=given)


def test_i2vgen_makes_the_protocols_clip_and_repeats_it(pipeline: Path, item: Item) -> None:
    made = []
    for seed in (1, 1, 2):
        with system(pipeline).open("cpu", PROTOCOL) as make:
            made.append(make(Item(item.number, item.clip, seed, item.video)))
    assert made[0].shape == (FRAMES, 3, SIZE, SIZE)
    assert -1 <= made[0].min() < made[0].max() <= 1
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2], atol=1e-2)


def test_i2vgen_sees_picture_and_prompt(pipeline: Path, item: Item) -> None:
    dark = Clip("dark.mp4 0 1", -torch.ones_like(item.clip.frames), "a boat", "", 8.0, 1)
    words = Clip("boat.mp4 0 1", item.clip.frames, "a b", "", 8.0, 1)
    bright = Clip("bright.mp4 0 1", torch.ones_like(item.clip.frames), "a boat", "", 8.0, 1)
    with system(pipeline).open("cpu", PROTOCOL) as make:
        found = [make(Item(7, clip, 1, item.video)) for clip in (dark, words, bright)]
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_the_text_is_the_last_layer_but_one_normalised(
    pipeline: Path, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the U-Net hears against the text tower's own layers; the random state is put back."""
    import diffusers
    from transformers.models.clip import CLIPTextModel, CLIPTokenizer

    heard: list[torch.Tensor] = []
    forward = diffusers.I2VGenXLUNet.forward

    def listen(self: Any, *given: Any, **named: Any) -> Any:
        heard.append(named["encoder_hidden_states"])
        return forward(self, *given, **named)

    monkeypatch.setattr(diffusers.I2VGenXLUNet, "forward", listen)
    before = torch.get_rng_state()
    with system(pipeline).open("cpu", PROTOCOL) as make:
        make(item)
    assert torch.equal(torch.get_rng_state(), before)
    tower: Any = CLIPTextModel.from_pretrained(pipeline / "text_encoder")
    words: Any = CLIPTokenizer.from_pretrained(pipeline / "tokenizer")
    ids = torch.tensor(words(["a boat"], padding="max_length")["input_ids"])
    layers = tower(ids, output_hidden_states=True).hidden_states
    norm = getattr(tower, "text_model", tower).final_layer_norm
    torch.testing.assert_close(heard[0][1:], norm(layers[-2]), atol=1e-6, rtol=0)


def test_a_call_that_fails_names_the_clip(pipeline: Path, item: Item) -> None:
    with (
        system(pipeline, guidance_scale="high").open("cpu", PROTOCOL) as make,
        pytest.raises(ItemError, match="I2VGen-XL fails on clip 7: "),
    ):
        make(item)


def test_a_folder_that_is_no_pipeline_is_named(item: Item, tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="diffusers is not installed")
    with (
        pytest.raises(SystemStopped, match=r"not a pipeline .*model_index\.json"),
        system(tmp_path).open("cpu", PROTOCOL),
    ):
        pass


def test_a_damaged_pipeline_is_named(pipeline: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(pipeline, tmp_path / "damaged")
    (tmp_path / "damaged" / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"none")
    with (
        pytest.raises(SystemStopped, match="not a pipeline that diffusers can load"),
        system(tmp_path / "damaged").open("cpu", PROTOCOL),
    ):
        pass


def test_without_diffusers_the_pipeline_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with (
        pytest.raises(SystemStopped, match="pip install diffusers"),
        system(tmp_path).open("cpu", PROTOCOL),
    ):
        pass


def test_frames_in_each_form() -> None:
    video = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(frames_of(video[None]), video * 2 - 1)
    arrays = [video.permute(0, 2, 3, 1).numpy()]
    torch.testing.assert_close(frames_of(arrays), video * 2 - 1)
