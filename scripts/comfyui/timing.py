"""How long each node of a prompt runs."""

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from .client import ComfyClient


def run_timed(
    server: ComfyClient, prompt: Mapping[str, Any], timeout: float | None = None
) -> tuple[dict[str, Any], dict[str, float]]:
    """Runs a prompt; its outputs, and seconds by node id in the order of running.

    Nodes whose results are remembered do not run. Raises as `ComfyClient.prompt` does.
    """
    starts: list[tuple[str, float]] = []

    def note(node: str, _value: int, maximum: int) -> None:
        if not maximum:
            starts.append((node, time.monotonic()))

    outputs = server.prompt(prompt, on_progress=note, timeout=timeout)
    seconds: dict[str, float] = {}
    for (node, start), (_, end) in pairwise([*starts, ("", time.monotonic())]):
        seconds[node] = seconds.get(node, 0.0) + end - start
    return outputs, seconds
