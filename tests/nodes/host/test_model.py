"""The model as the host sees it: its memory by the host's formula."""

from types import SimpleNamespace
from typing import Any

import comfy.model_base
import comfy.model_management
import pytest
import torch
from checkout import import_package
from pack.dc_model.variants import UNetArch
from pack.nodes.host.model import DynamiCrafterConfig

import_package("benchmarks")


@pytest.mark.parametrize(
    ("size", "frames", "videos"), [((32, 32), 1, 1), ((40, 64), 16, 2), ((45, 80), 33, 3)]
)
def test_the_host_s_estimate_is_near_the_count(
    size: tuple[int, int], frames: int, videos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.count_memory import MIB, peak_mib

    monkeypatch.setattr(comfy.model_management, "pytorch_attention_flash_attention", lambda: True)
    model: Any = SimpleNamespace(
        memory_usage_factor=DynamiCrafterConfig.memory_usage_factor,
        memory_usage_factor_conds=(),
        get_dtype_inference=lambda: torch.float16,
    )
    estimate = comfy.model_base.BaseModel.memory_required(model, [videos * frames, 4, *size]) / MIB
    counted = peak_mib(UNetArch(), size, frames, videos, torch.float16)
    assert counted < estimate < 1.25 * counted
