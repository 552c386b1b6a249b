"""A new image stream for a text-to-video model: it changes nothing at first."""

from functools import partial
from pathlib import Path

import pytest
import torch
from small_checkpoint import write
from training_helpers import small_trainer, tiny_config

from dc_model.projection import ProjectionArch
from training import image_stream
from training.config import ConfigError, ModelConfig
from training.load import build_model, load_checkpoint
from training.stages import STAGES
from training.train import export

NEW_STREAM = {"new_image_stream": True, "variant": "512"}


@pytest.fixture(scope="module")
def files(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A text-to-video checkpoint without an image tower, and a full one."""
    folder, lender = tmp_path_factory.mktemp("files"), golden / "pipeline" / "512_frames8.json"
    return (
        write(lender, folder / "text.safetensors", "videocrafter2"),
        write(lender, folder / "full.safetensors", "512"),
    )


@pytest.fixture(autouse=True)
def small_query_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(ProjectionArch, dim=64, depth=1, heads=1)
    monkeypatch.setattr(image_stream, "ProjectionArch", small)


def config(files: tuple[Path, Path], output: Path, stage: str, **model):
    return tiny_config(
        output,
        stage,
        model={"checkpoint": str(files[0]), **model},
        data={"kind": "small_world", "pool": 2, "size": [64, 64], "num_frames": 2},
        run={"steps": 1, "batch_size": 1},
    )


def predict(model, concat: torch.Tensor | None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 4, 16, 8, 8, generator=generator)
    text = torch.randn(1, 7, model.unet.arch.context_dim, generator=generator)
    tokens = None
    if model.projector is not None:
        width = model.projector.arch.embedding_dim
        tokens = torch.randn(1, 257, width, generator=generator)
    model.eval()
    with torch.no_grad():
        return model(noisy, concat, torch.tensor([500]), text, tokens, torch.tensor([8.0]))


def test_the_first_stage_begins_as_the_text_to_video_model(files, tmp_path: Path):
    whole = config(
        files, tmp_path, "projector", encoders=str(files[1]), new_image_stream=True, variant="512"
    )
    trainer = small_trainer(whole)
    plain = build_model(load_checkpoint(whole.model), dropout=0.0)
    assert plain.projector is None and trainer.raw.projector is not None
    assert trainer.raw.projector.arch.num_latents == 256
    found = predict(trainer.raw, torch.ones(1, 4, 16, 8, 8))
    torch.testing.assert_close(found, predict(plain, None), atol=1e-5, rtol=1e-5)

    trainer.train()
    changed = {
        name.split(".")[-2]
        for name, p in trainer.raw.unet.named_parameters()
        if name not in plain.unet.state_dict() and p.abs().sum() > 0
    }
    assert changed == {"to_k_ip", "to_v_ip"}
    export(trainer, tmp_path / "model.safetensors")
    model = {"checkpoint": str(tmp_path / "model.safetensors")}
    small_trainer(config(files, tmp_path / "next", "joint", **model))


def test_the_same_seed_gives_the_same_stream(files, tmp_path: Path):
    whole = config(
        files, tmp_path, "projector", encoders=str(files[1]), new_image_stream=True, variant="512"
    )
    first, second = (small_trainer(whole).raw for _ in range(2))
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)


def test_text_stages_need_no_image_tower(files, tmp_path: Path):
    trainer = small_trainer(config(files, tmp_path, "low_quality_video"))
    trainer.train()
    export(trainer, tmp_path / "model.safetensors")
    parts = load_checkpoint(
        ModelConfig(checkpoint=str(tmp_path / "model.safetensors")),
        STAGES["low_quality_video"],
    ).parts
    assert parts.vae and parts.text_encoder and not parts.image_encoder


def test_a_missing_stream_or_tower_is_named(files, tmp_path: Path):
    with pytest.raises(ConfigError, match="lacks the image tower"):
        whole = config(files, tmp_path, "projector", **NEW_STREAM)
        small_trainer(whole)
    with pytest.raises(ConfigError, match=r"query transformer.*new_image_stream: true"):
        small_trainer(config(files, tmp_path, "adapt"))


def test_adapters_do_without_what_the_model_lacks(files, tmp_path: Path):
    trainer = small_trainer(config(files, tmp_path, "lora"))
    assert not trainer.stage.concat and not trainer.stage.image_tokens
    assert trainer.train() == 1
