"""One size measured from end to end: what is run, and how often."""

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from dc_model.unet.unet import DynamiCrafterUNet

from . import parts, unet
from .device import Rates, in_own_process
from .networks import Networks, Where

# In the order they are run in.
PARTS = ("memory", "encoders", "decode", "call", "step", "run", "growth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is run. work: one run. steps: of the whole run. growth: field of `work` -> values.

    peaks: of which runs memory is taken, on a CPU each in a process of its own.
    """

    parts: Sequence[str] = PARTS
    work: unet.Workload
    steps: int
    repeats: int
    growth: dict[str, Sequence[Any]]
    peaks: Sequence[tuple[unet.Kind, str]] = tuple(product(unet.KINDS, ("ours", "plain")))


def quick_plan(name: str) -> Plan:
    """A few minutes on two cores of a CPU."""
    return Plan(
        parts=[part for part in PARTS if part not in ("call", "growth")],
        work=unet.workload(name, 2),
        steps=1,
        repeats=2,
        growth={},
        peaks=[("step", "ours")],
    )


def full_plan(name: str, on_cpu: bool) -> Plan:
    """At the published length."""
    work = unet.workload(name, 16)
    height, width = work.size
    growth = {
        "frames": (1, 4, 8, 16) if on_cpu else (1, 4, 8, 16, 32),
        "size": [(height // 2, width // 2), (height * 3 // 4, width * 3 // 4), (height, width)],
        "videos": (1, 2) if on_cpu else (1, 2, 4),
    }
    steps, repeats = (2, 3) if on_cpu else (50, 7)
    return Plan(work=work, steps=steps, repeats=repeats, growth=growth)


@torch.inference_mode()
def measure(
    name: str,
    networks: Networks,
    where: Where,
    plan: Plan,
    rates: Rates,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """All figures of one published size. say: is given each part before it begins."""
    networks, work = networks.of_size(name), plan.work
    found: dict[str, Any] = {"size": name, "latent": list(work.size), "frames": work.frames}
    if "memory" in plan.parts:
        say("memory")
        found["memory"] = peaks(name, networks, where, plan)
    repeats = min(plan.repeats, 2)
    if "encoders" in plan.parts:
        say("encoders")
        found["encoders"] = parts.measure_encoders(networks, where, work, repeats, rates)
    if "decode" in plan.parts:
        say("decode")
        found["decode"] = parts.measure_decode(networks, where, work, repeats, rates)
    gc.collect()
    if {"call", "step", "run", "growth"} & set(plan.parts):
        network = networks.make_unet(where)
        found.update(_measure_unet(name, network, where, plan, rates, say))
    return found


def _measure_unet(
    name: str,
    network: DynamiCrafterUNet,
    where: Where,
    plan: Plan,
    rates: Rates,
    say: Callable[[str], None],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in unet.KINDS:
        if kind in plan.parts:
            say(kind)
            found[kind] = unet.compare(network, where, plan.work, kind, plan.repeats, rates)
            found["difference"] = unet.difference(network, where, replace(plan.work, frames=2))
    if "run" in plan.parts:
        say("run")
        seconds = parts.measure_sampling(network, where, name, plan.work, plan.steps)
        found["run"] = {"steps": plan.steps, "sampling": seconds}
    if "growth" in plan.parts:
        found["growth"] = {}
        for what, values in plan.growth.items():
            say(f"growth with {what}")
            found["growth"][what] = unet.grow(network, where, plan.work, what, values)
    return found


def peaks(name: str, networks: Networks, where: Where, plan: Plan) -> dict[str, int]:
    """Bytes by "call, ours" and so on; on a CPU of the published networks, whatever is given."""
    found = {f"{kind}, {who}": _peak(name, networks, where, plan, kind, who)
             for kind, who in plan.peaks}  # fmt: skip
    return {run: peak for run, peak in found.items() if peak is not None}


def _peak(
    name: str, networks: Networks, where: Where, plan: Plan, kind: unet.Kind, who: str
) -> int | None:
    if where.device.type != "cpu":
        try:
            return unet.peak_memory(networks, where, plan.work, kind, who)
        except torch.OutOfMemoryError:
            return None
    arguments = ["--peak", kind, who, "--sizes", name, "--frames", str(plan.work.frames)]
    dtype = str(where.dtype).removeprefix("torch.")
    threads = ["--threads", str(torch.get_num_threads()), "--device", "cpu", "--dtype", dtype]
    return json.loads(in_own_process([*arguments, *threads]))
