"""The model as the host sees it: its memory by the host's formula, and whose a row of text is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_base
import comfy.model_management
import pytest
import torch
from checkout import import_package
from host_sampling import load_least, prompt, sample
from pack.dc_model.variants import UNetArch
from pack.nodes.host import keys
from pack.nodes.host.model import DynamiCrafterConfig

import_package("benchmarks")


def estimate(size: tuple[int, int], rows: int) -> float:
    """Bytes for a batch of `rows` frames in 16 bits, where attention is fused."""
    model: Any = SimpleNamespace(
        memory_usage_factor=DynamiCrafterConfig.memory_usage_factor,
        memory_usage_factor_conds=(),
        get_dtype_inference=lambda: torch.float16,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.model_management, "pytorch_attention_flash_attention", lambda: True)
        return comfy.model_base.BaseModel.memory_required(model, [rows, 4, *size])


# Every size with every length, every length with every number of videos.
@pytest.mark.parametrize(
    ("size", "frames", "videos"),
    [
        ((16, 16), 1, 1), ((16, 16), 16, 2), ((16, 16), 64, 3),
        ((40, 64), 1, 2), ((40, 64), 16, 3), ((40, 64), 64, 1),
        ((72, 128), 1, 3), ((72, 128), 16, 1), ((72, 128), 64, 2),
        ((45, 80), 33, 3), ((128, 72), 5, 2),
    ],
)  # fmt: skip
def test_the_host_s_estimate_is_near_the_count(
    size: tuple[int, int], frames: int, videos: int
) -> None:
    from benchmarks.count_memory import MIB, peak_mib

    counted = MIB * peak_mib(UNetArch(), size, frames, videos, torch.float16)
    assert counted < estimate(size, videos * frames) < 1.25 * counted


@pytest.mark.parametrize(
    ("size", "bytes_per_value", "most"),
    [((40, 64), 2, 5.5e9), ((40, 64), 1, 4.5e9), ((72, 128), 2, 9.0e9)],
)
def test_a_card_of_this_size_holds_the_whole_network(
    size: tuple[int, int], bytes_per_value: int, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of the host's `load_models_gpu`, with its reserve on Linux."""
    from benchmarks.count_memory import MIB, networks, weight_mib

    host = comfy.model_management
    monkeypatch.setattr(host, "EXTRA_RESERVED_VRAM", 400 * MIB)
    sampling = estimate(size, 2 * 16)  # the host counts both branches
    room = max(host.minimum_inference_memory(), sampling + host.extra_reserved_memory())
    assert MIB * weight_mib(networks()["U-Net"], bytes_per_value) + room <= most


def test_as_many_texts_as_videos_are_the_videos(golden: Path, tmp_path: Path) -> None:
    """Also where a video has as many frames as there are videos."""
    model, texts = load_least(golden, tmp_path), None
    found = []
    cases: Any = ((1, {}), (2, {}), (1, {keys.TEXT_PER_FRAME: True}))
    for repeats, values in cases:
        given = prompt(torch.Generator().manual_seed(2), frames=2, **values)
        texts = torch.cat([given[0][0], -given[0][0]]) if texts is None else texts
        given[0][0] = texts.repeat_interleave(repeats, dim=0)
        found.append(sample(model, given, given, frames=4, cfg=1.0))
    per_video, spelled_out, per_frame = found
    scale = spelled_out.norm()
    assert float((per_video - spelled_out).norm() / scale) < 1e-5
    assert float((per_frame - spelled_out).norm() / scale) > 0.1
