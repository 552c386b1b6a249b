"""Which operators copy in a step, by PyTorch's profiler: a fifth of the width, on a CPU."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from dc_model.variants import UNetArch

from .networks import Networks, Where
from .unet import Workload

SMALL = UNetArch(model_channels=64, head_dim=16, context_dim=128)
LATENT, FRAMES = (16, 16), 16
COPY = "aten::copy_"


def profiled_step(arch: UNetArch, work: Workload, dtype: torch.dtype) -> list[Any]:
    """The profiler's events of the second of two guided steps."""
    where = Where(torch.device("cpu"), dtype)
    step = work.runs(Networks(unet=arch).make_unet(where), where, "step")["ours"]
    with torch.inference_mode():
        step()
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            step()
    return list(profiler.events() or [])


def copies(events: list[Any]) -> Mapping[str, float]:
    """Each operator's share of the events' whole time that went into copies it asked for."""
    total = sum(event.self_cpu_time_total for event in events)
    shares: Counter[str] = Counter()
    for event in events:
        if event.name == COPY:
            parent = event.cpu_parent
            shares[parent.name if parent else "-"] += event.self_cpu_time_total / total
    return shares


def copies_table() -> str:
    """Shares of a step's time in bf16 and fp32, as a Markdown table."""
    found = {
        str(dtype).removeprefix("torch."): copies(
            profiled_step(SMALL, Workload(LATENT, FRAMES), dtype)
        )
        for dtype in (torch.bfloat16, torch.float32)
    }
    lines = ["| copies for | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    names = sorted(set().union(*found.values()), key=lambda name: -sum(_of(found, name)))
    lines += [
        f"| {name} | " + " | ".join(f"{share:.1%}" for share in _of(found, name)) + " |"
        for name in names
    ]
    sums = " | ".join(f"{sum(shares.values()):.1%}" for shares in found.values())
    return "\n".join([*lines, f"| **all** | {sums} |"])


def _of(found: Mapping[str, Mapping[str, float]], name: str) -> list[float]:
    return [shares.get(name, 0.0) for shares in found.values()]
