from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from training_helpers import tiny_config, tiny_model

from dc_model.checkpoint.detect import detect_unet_arch, detect_variant, read_metadata
from dc_model.checkpoint.layout import shapes, split_checkpoint
from dc_model.encoders.autoencoder import Autoencoder
from dc_model.encoders.clip import Towers
from dc_model.preprocess import clip_preprocess
from dc_model.projection import detect_projection_arch
from dc_model.sampling.schedule import schedule_of
from dc_model.variants import VARIANTS, UNetArch
from research.small_world.train.preset import PROJECTOR, UNET, new_model
from training.config import ModelConfig
from training.ema import Ema
from training.encoders import Encoders
from training.load import build_encoders, build_model, load_checkpoint
from training.lora import add_lora, lora_tensors
from training.saving import checkpoint_tensors, save_checkpoint
from training.vocabulary import tokenize


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.safetensors"
    encoders = Encoders(Autoencoder(), Towers(), tokenize, clip_preprocess)
    tensors = checkpoint_tensors(new_model(0), encoders, schedule_of(VARIANTS["512"]))
    save_checkpoint(path, tensors, {"variant": "512", "head_dim": {"unet": 64}})
    return path


def test_demo_checkpoint_opens_with_the_packs_own_reader(checkpoint: Path):
    assert checkpoint.stat().st_size < 32e6
    tensors = load_file(checkpoint)
    parts = split_checkpoint(tensors)
    assert detect_unet_arch(shapes(parts.unet), 64) == UNET._replace(dropout=UNetArch().dropout)
    assert detect_projection_arch(shapes(parts.projector)) == PROJECTOR
    assert not parts.other
    with safe_open(checkpoint, "pt") as file:
        stated = read_metadata(file.metadata())
    assert detect_variant(parts.evidence(), stated, "x.safetensors").variant == "512"
    assert parts.buffers["scale_arr"].shape == (1400,)
    assert parts.buffers["alphas_cumprod"].dtype == torch.float32


def test_a_saved_checkpoint_trains_again(checkpoint: Path):
    loaded = load_checkpoint(ModelConfig(checkpoint=str(checkpoint)))
    model = build_model(loaded, dropout=0.0)
    encoders = build_encoders(loaded, tokenize)
    fresh = new_model(0)
    for (name, p), q in zip(model.named_parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(p, q.half().float(), msg=name)
    assert encoders.text(["a red circle grows"]).shape == (1, 77, 64)


def test_files_are_as_readable_as_any_other(tmp_path: Path):
    (tmp_path / "plain").touch()
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {})
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_ema_by_value():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1.0)
    ema = Ema(layer, decay=0.5)
    torch.nn.init.constant_(layer.weight, 3.0)
    ema.update(layer)  # decay min(.5, 1/10): 0.1 * 1 + 0.9 * 3
    assert float(ema.shadow["weight"]) == pytest.approx(2.8)
    with ema.applied(layer):
        assert float(layer.weight) == pytest.approx(2.8)
    assert float(layer.weight) == 3.0


def test_lora_starts_as_the_layer_and_saves_stock_keys():
    model = tiny_model()
    x = torch.randn(1, 8, 2, 4, 4)
    arguments = (torch.tensor([5]), torch.randn(1, 7, 16), None, torch.tensor([8.0]))
    model.eval()
    with torch.no_grad():
        before = model.unet(x, *arguments)
        names = add_lora(model.unet, tiny_config("out", "lora").lora)
        torch.testing.assert_close(model.unet(x, *arguments), before)
    tensors = lora_tensors(model.unet)
    assert len(tensors) == 3 * len(names)
    name = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_q"
    assert tensors[f"{name}.lora_up.weight"].shape[1] == 16
    assert float(tensors[f"{name}.alpha"]) == 16.0
