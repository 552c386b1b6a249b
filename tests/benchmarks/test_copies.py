"""Who copies in a step, on a network that a test can run."""

from types import SimpleNamespace
from typing import Any

import torch

from benchmarks import copies
from benchmarks.networks import Networks
from benchmarks.unet import Workload


def event(name: str, seconds: float, parent: Any = None) -> Any:
    return SimpleNamespace(name=name, self_cpu_time_total=seconds, cpu_parent=parent)


def test_a_copy_counts_for_the_operator_that_asked_for_it() -> None:
    product = event("aten::addmm", 6)
    events = [product, event(copies.COPY, 3, product), event(copies.COPY, 1)]
    assert copies.copies(events) == {"aten::addmm": 0.3, "-": 0.1}


def test_a_steps_biases_are_copied_by_products(tiny_networks: Networks) -> None:
    events = copies.profiled_step(tiny_networks.unet, Workload((8, 8), 2), torch.float32)
    found = copies.copies(events)
    assert 0 < found["aten::addmm"] < sum(found.values()) < 1
