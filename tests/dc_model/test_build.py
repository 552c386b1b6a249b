"""Encoders that another file lends: read, renamed and checked as a checkpoint's own."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dc_model.build import lend_encoders
from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.layout import DEEPSPEED_PREFIX, UNET_PREFIX, CheckpointParts

FULL = {
    UNET_PREFIX + "out.2.bias": torch.ones(4),
    "first_stage_model.decoder.conv_in.weight": torch.ones(1),
    "cond_stage_model.model.ln_final.weight": torch.ones(2),
    "embedder.model.visual.ln_post.weight": torch.ones(3),
}
VAE = "first_stage_model.decoder.conv_in.weight"


def lent_by(tensors: Mapping[str, Tensor], path: Path, **own: dict[str, Tensor]) -> CheckpointParts:
    parts = CheckpointParts()
    for part, state in own.items():
        setattr(parts, part, state)
    save_file(dict(tensors), path)
    lend_encoders(parts, path)
    return parts


def test_a_full_checkpoint_lends_what_is_lacking(tmp_path: Path):
    own = {"decoder.conv_in.weight": torch.zeros(1)}
    parts = lent_by(FULL, tmp_path / "full.safetensors", vae=own)
    assert parts.vae is own and not parts.unet
    assert parts.text_encoder.keys() == {"model.ln_final.weight"}
    assert parts.image_encoder.keys() == {"model.visual.ln_post.weight"}


def test_a_deepspeed_file_lends_as_it_loads(tmp_path: Path):
    path, parts = tmp_path / "deepspeed.ckpt", CheckpointParts()
    torch.save({"module": {DEEPSPEED_PREFIX + k: v for k, v in FULL.items()}}, path)
    lend_encoders(parts, path)
    assert parts.vae and parts.text_encoder and parts.image_encoder


def test_weights_of_other_than_floating_numbers_are_refused_where_lent(tmp_path: Path):
    whole = {**FULL, VAE: torch.ones(1, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"q\.safetensors: The file's VAE has .*int8.*choose"):
        lent_by(whole, tmp_path / "q.safetensors")
    own = {"decoder.conv_in.weight": torch.zeros(1)}
    assert lent_by(whole, tmp_path / "q.safetensors", vae=own).text_encoder


def test_a_file_without_encoders_is_named(tmp_path: Path):
    bare = {k: v for k, v in FULL.items() if k.startswith(UNET_PREFIX)}
    expected = r"bare\.safetensors: It lends no encoder .*out\.2\.bias.*choose a full checkpoint"
    with pytest.raises(CheckpointError, match=expected):
        lent_by(bare, tmp_path / "bare.safetensors")
