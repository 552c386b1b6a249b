"""The U-Net measured: ours and the plain one in turn, its growth, its memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from dc_model.unet.unet import DynamiCrafterUNet

from .counting import BRANCHES, count_unet, latent_size
from .device import Rates, peak_bytes, reset_peak, wait_for
from .networks import Networks, Where
from .step import call, guided, plain_call, plain_guided, random_conditioning
from .timing import Times, in_turn, ratio

Kind = Literal["call", "step"]
# One prediction for one branch, and one step with both branches of guidance.
KINDS: tuple[Kind, ...] = ("call", "step")
MIDDLE_TIMESTEP = 500.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What one run computes; size: latent (h, w)."""

    size: tuple[int, int]
    frames: int = 16
    videos: int = 1

    def runs(
        self, unet: DynamiCrafterUNet, where: Where, kind: Kind
    ) -> dict[str, Callable[[], torch.Tensor]]:
        """Ours and the plain one on the same inputs."""
        arch, videos = unet.arch, self.videos
        x = where.randn(videos, arch.in_channels, self.frames, *self.size, seed=20)
        t = torch.full((videos,), MIDDLE_TIMESTEP, device=where.device)
        words, empty = (
            random_conditioning(where, arch.context_dim, videos, self.frames, seed)
            for seed in (1, 10)
        )
        if kind == "call":
            ours, plain = (partial(run, unet, x, t, words) for run in (call, plain_call))
        else:
            ours, plain = (partial(run, unet, x, t, words, empty) for run in (guided, plain_guided))
        return {"ours": ours, "plain": plain}


def entry(times: Times, flops: float, moved: float, rates: Rates) -> dict[str, Any]:
    """Times with what they say about the device; flops and bytes of one run are counted."""
    return {
        "seconds": times.median,
        "spread": times.spread,
        "repeats": times.repeats,
        "tflops": flops / times.median / 1e12,
        "of_product_rate": flops / times.median / rates.flops,
        "of_copy_rate": moved / times.median / rates.bytes,
    }


def compare(
    unet: DynamiCrafterUNet, where: Where, work: Workload, kind: Kind, repeats: int, rates: Rates
) -> dict[str, Any]:
    """Ours and the plain one in turn, and how far their results differ.

    Both are rated by the operations that ours needs, since computing twice earns nothing.
    """
    runs = work.runs(unet, where, kind)
    warm_up(unet, where, work, kind)
    try:
        times = in_turn(runs, repeats, where.device)
    except torch.OutOfMemoryError:
        times = in_turn({"ours": runs["ours"]}, repeats, where.device)
    branches = 1 if kind == "call" else BRANCHES
    cost = count_unet(unet.arch, work.size, work.frames, work.videos, branches, where.dtype)
    found: dict[str, Any] = {
        name: entry(t, cost.flops, cost.bytes, rates) for name, t in times.items()
    }
    if "plain" in times:
        found["ratio"] = ratio(times["plain"], times["ours"])
    return found


def warm_up(unet: DynamiCrafterUNet, where: Where, work: Workload, kind: Kind) -> None:
    """Everything once; a CPU only needs its weights in memory."""
    if where.device.type == "cpu":
        work = replace(work, frames=1)
    for run in work.runs(unet, where, kind).values():
        run()
    wait_for(where.device)


def difference(unet: DynamiCrafterUNet, where: Where, work: Workload) -> float:
    """Largest difference of the plain step from ours, relative to the largest value."""
    ours, plain = (run() for run in work.runs(unet, where, "step").values())
    return ((ours - plain).abs().max() / plain.abs().max()).item()


def grow(
    unet: DynamiCrafterUNet, where: Where, work: Workload, what: str, values: Sequence[Any]
) -> list[dict[str, Any]]:
    """Seconds of one call of ours, which ran before, for each value of a field of `work`."""
    found = []
    for value in values:
        bigger = replace(work, **{what: value})
        run = bigger.runs(unet, where, "call")["ours"]
        if where.device.type != "cpu":
            run()
        times = in_turn({"ours": run}, 1, where.device)["ours"]
        found.append({"value": value, "seconds": times.median})
    return found


def peak_memory(
    networks: Networks, where: Where, work: Workload, kind: Kind, who: str
) -> int | None:
    """Bytes at most while one run computes, weights included; on a CPU those of the process."""
    unet = networks.make_unet(where)
    reset_peak(where.device)
    work.runs(unet, where, kind)[who]()
    wait_for(where.device)
    return peak_bytes(where.device)


def workload(name: str, frames: int) -> Workload:
    """One video of a published size."""
    return Workload(latent_size(name), frames)
