"""Prompts that stop inside a model call until they are interrupted.

An interrupt that comes before the server has begun with a prompt is lost, and after a fast run it
is late: a test has to know where the prompt is.
"""

import time
import uuid
from collections.abc import Callable

import pytest
from comfyui.client import ComfyClient, InterruptedPromptError
from graphs import Link
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


def interrupted(scene: Scene, video: Callable[[Scene], Link], call: int = 1) -> Hold:
    """Runs `video(scene)` to its `call`-th model call and interrupts it there; it must end soon and
    save nothing.
    """
    server, name = scene.studio.server, f"held-{uuid.uuid4().hex}"
    hold = Hold(scene, call)
    scene.graph.add("TestSave", value=video(scene), name=name)
    prompt_id = server.submit(scene.graph.prompt)
    hold.wait(server, prompt_id)
    started = time.monotonic()
    server.interrupt()
    with pytest.raises(InterruptedPromptError):
        server.wait(prompt_id, timeout=PATIENCE)
    assert time.monotonic() - started < 10  # a second, and a busy machine
    assert not (server.base / "output" / f"{name}.safetensors").exists()
    return hold
