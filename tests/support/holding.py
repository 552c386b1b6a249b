"""Prompts that stop inside a model call until they are interrupted.

An interrupt that comes before the server has begun with a prompt is lost, and after a fast run it
is late: a test has to know where the prompt is.
"""

import time
import uuid

from comfyui.client import ComfyClient
from scene import Scene
from studio import PATIENCE


class Hold:
    """Holds the scene's model in its `call`-th call, from 1."""

    def __init__(self, scene: Scene, call: int = 1):
        name = f"hold-{uuid.uuid4().hex}"
        self._file = scene.studio.server.base / "output" / name
        scene.model = scene.graph.add("TestHold", model=scene.model, name=name, call=call)[0]

    def wait(self, server: ComfyClient, prompt_id: str) -> None:
        """Returns when the prompt has come to the place."""
        deadline = time.monotonic() + PATIENCE
        while not self._file.with_suffix(".inside").exists():
            assert server.history(prompt_id) is None, "the prompt has ended"
            assert time.monotonic() < deadline, "the prompt has not come to the model call"
            time.sleep(0.02)

    def layers(self) -> tuple[int, int]:
        """(layers that ran in the last call, layers that a whole call runs)."""
        calls, layers = self._file.with_suffix(".calls").read_text("utf-8").split()
        return int(calls), int(layers)

    def remove(self) -> None:
        """Deletes the files that mark it."""
        for suffix in (".inside", ".calls"):
            self._file.with_suffix(suffix).unlink()
