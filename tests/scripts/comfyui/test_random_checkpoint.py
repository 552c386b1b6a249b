"""Checkpoints of random weights: the published layout, written without the networks."""

import math
from pathlib import Path

import pytest
import torch
from comfyui.random_checkpoint import OUTPUT, POOL, read_manifest, write_checkpoint
from safetensors.torch import load_file

SHAPES = {
    "model.diffusion_model.input_blocks.0.0.weight": [64, 8, 3, 3],
    "model.diffusion_model.out.0.weight": [64],
    "model.diffusion_model.out.0.bias": [64],
    OUTPUT: [4, 64, 3, 3],
    "cond_stage_model.model.logit_scale": [],
}


@pytest.mark.parametrize(("name", "dtype"), [("F16", torch.float16), ("F32", torch.float32)])
def test_the_file_holds_what_was_asked_for(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    tensors = load_file(write_checkpoint(tmp_path / "made" / "a.safetensors", SHAPES, name))
    assert {key: list(tensor.shape) for key, tensor in tensors.items()} == SHAPES
    assert all(tensor.dtype == dtype for tensor in tensors.values())


def test_activations_keep_their_scale(tmp_path: Path) -> None:
    tensors = load_file(write_checkpoint(tmp_path / "a.safetensors", SHAPES, "F32"))
    first = tensors["model.diffusion_model.input_blocks.0.0.weight"]
    assert float(first.std()) == pytest.approx(1 / math.sqrt(8 * 9), rel=0.05)
    assert float(tensors[OUTPUT].std()) == pytest.approx(0.5 / math.sqrt(64 * 9), rel=0.1)
    assert float(tensors["model.diffusion_model.out.0.weight"].mean()) == pytest.approx(1, abs=0.1)
    assert float(tensors["model.diffusion_model.out.0.bias"].abs().max()) < 0.5


def test_a_tensor_may_be_larger_than_the_pool(tmp_path: Path) -> None:
    shapes = {"a.weight": [3, POOL // 2]}
    weight = load_file(write_checkpoint(tmp_path / "a.safetensors", shapes))["a.weight"].float()
    assert weight.isfinite().all()
    assert not torch.equal(weight[0], weight[2])


def test_the_seed_decides(tmp_path: Path) -> None:
    one, same, other = (
        write_checkpoint(tmp_path / f"{number}.safetensors", SHAPES, seed=seed).read_bytes()
        for number, seed in enumerate((1, 1, 2))
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("file", "unet"),
    [
        ("manifests/dynamicrafter_512.json.gz", 1_438_854_980),
        ("manifests/dynamicrafter_256.json.gz", 1_438_854_996),
        ("pipeline/512_frames8.json", None),
    ],
)
def test_a_manifest_lists_the_five_parts(golden: Path, file: str, unet: int | None) -> None:
    shapes = read_manifest(golden / file)
    assert {key.split(".")[0] for key in shapes} == {
        *("model", "first_stage_model", "cond_stage_model", "embedder", "image_proj_model")
    }
    size = sum(math.prod(s) for k, s in shapes.items() if k.startswith("model."))
    assert unet in (size, None)
