"""The machine that is measured: its name, its own rates, its memory."""

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from .networks import Where

GIB = 2**30
# A few of the fastest runs count: others on the machine only ever slow it down.
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Rates:
    """What the device reaches by itself: FLOP/s of a large product, bytes/s of a large copy."""

    flops: float
    bytes: float


def fastest_device() -> torch.device:
    """A GPU of any make where there is one."""
    accelerator = torch.accelerator.current_accelerator() if _has_accelerator() else None
    return accelerator or torch.device("cpu")


def _has_accelerator() -> bool:
    return hasattr(torch, "accelerator") and torch.accelerator.is_available()


def default_dtype(device: torch.device) -> torch.dtype:
    """What ComfyUI computes in by default."""
    if device.type == "cpu":
        return torch.float32
    return torch.float16 if device.type == "mps" else torch.bfloat16


def device_name(device: torch.device) -> str:
    """The GPU's, else the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return f"{device.type} {platform.processor() or platform.machine()}"


def wait_for(device: torch.device) -> None:
    """Until all that was asked of the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of one run, the device's own work included."""
    wait_for(device)
    start = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - start


def measure_rates(where: Where) -> Rates:
    """Of a product of square matrices and of a copy, both too large for any cache."""
    small = where.device.type == "cpu"
    side, count = (2048, 2**25) if small else (8192, 2**29)
    a, b = where.randn(side, side), where.randn(side, side, seed=1)
    values = torch.zeros(count, device=where.device, dtype=where.dtype)
    target = torch.zeros_like(values)
    product = _fast(lambda: torch.mm(a, b), where.device)
    copy = _fast(lambda: target.copy_(values), where.device)
    return Rates(2 * side**3 / product, 2 * count * values.element_size() / copy)


def _fast(run: Callable[[], object], device: torch.device) -> float:
    seconds(run, device)
    return median(sorted(seconds(run, device) for _ in range(_REPEATS))[:3])


def reset_peak(device: torch.device) -> None:
    """Begin a measurement of memory, where the device counts it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Most memory since `reset_peak`; on a CPU of this process since its start. None = unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_own_process(arguments: list[str]) -> str:
    """What `python -m benchmarks ARGUMENTS` prints in a process of its own."""
    command = [sys.executable, "-m", __package__ or "benchmarks", *arguments]
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout
