"""Runs a shipped workflow on a real server with random weights, timed by node, memory watched."""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfyui.client import ServerError
from comfyui.random_checkpoint import read_manifest, write_checkpoint
from comfyui.server import NO_API_NODES, ComfyServer, link_checkpoint
from comfyui.setup import PACK
from comfyui.timing import run_timed
from comfyui.workflow_settings import Prompt
from demo_options import parse
from demo_prompt import make_prompt

GIB = 2**30
# Between looks at the memory; a peak between two of them is not seen.
PAUSE = 0.25


@dataclass(frozen=True)
class Size:
    """What runs: a shipped workflow's short name, the layout of its checkpoint, its settings."""

    name: str
    workflow: str
    manifest: Path
    settings: Mapping[str, int] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The checkpoint's name, by which the loader knows the variant."""
        return f"dynamicrafter_{self.name}.safetensors"


def timed_runs(
    size: Size,
    found: dict[str, Any],
    *,
    comfyui: Path,
    python: Path,
    work: Path,
    environment: Mapping[str, str],
    cpu: bool,
    timeout: float,
) -> None:
    """Adds to `found` seconds by node of a first and a second run, and peaks of memory in GiB.

    The second has another seed, so it samples and decodes with all that is loaded and encoded.
    timeout: seconds for all. Raises ServerError; `found` has what was measured before.
    """
    started = time.monotonic()
    checkpoint = checkpoint_of(size, work / "checkpoints")
    found["checkpoint written"] = time.monotonic() - started
    starting = time.monotonic()
    with ComfyServer(
        comfyui,
        packs=[PACK],
        python=python,
        cpu=cpu,
        extra_args=[*NO_API_NODES, "--front-end-root", str(empty_page(work / "page"))],
        environment=environment,
        start_timeout=min(120.0, timeout),
    ) as server:
        found["server ready"] = time.monotonic() - starting
        link_checkpoint(checkpoint, server.base / "models" / "checkpoints")
        with PeakMemory(server) as peak:
            found["peak GiB"] = peak.found
            for name, seed in (("first run", 1), ("second run", 2)):
                prompt = prompt_of(size, server, checkpoint, seed)
                found["settings"] = settings_of(prompt)
                left = started + timeout - time.monotonic()
                found[name] = seconds_by_node(server, prompt, left)


def prompt_of(size: Size, server: ComfyServer, checkpoint: Path, seed: int) -> Prompt:
    """The shipped workflow as the demo would run it."""
    flags = ["--workflow", size.workflow, "--checkpoint", str(checkpoint), f"--seed={seed}"]
    flags += [f"--{key}={value}" for key, value in size.settings.items()]
    return make_prompt(parse(flags), server, size.file)


def checkpoint_of(size: Size, folder: Path) -> Path:
    """A file of random weights; of one layout there is one, under several names."""
    shapes = read_manifest(size.manifest)
    path = folder / size.file
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:12]
    layout = folder / f"{digest}.layout"
    if not layout.exists():
        for old in folder.glob("*"):
            old.unlink()  # Room for the next layout.
        write_checkpoint(layout, shapes)
    if not path.exists():
        os.link(layout, path)
    return path


def empty_page(folder: Path) -> Path:
    """A folder to serve in place of ComfyUI's page, which may not be there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("<!doctype html><title>no page</title>", encoding="utf-8")
    return folder


def seconds_by_node(
    server: ComfyServer, prompt: Mapping[str, Any], timeout: float
) -> dict[str, float]:
    """Runs the prompt; seconds of each node by its type, and `all`."""
    _, seconds = run_timed(server, prompt, max(1.0, timeout))
    found: dict[str, float] = {"all": sum(seconds.values())}
    for node, taken in seconds.items():
        kind = prompt[node]["class_type"] if node in prompt else node
        found[kind] = found.get(kind, 0.0) + taken
    return found


def settings_of(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Steps, guidance and size of a prompt."""
    names = ("steps", "cfg", "eta", "width", "height", "length", "fps")
    inputs = [node["inputs"] for node in prompt.values()]
    return {
        name: values[name] for values in inputs for name in names if _is_number(values.get(name))
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


class PeakMemory:
    """Watches a server's memory from a thread; `found` is in GiB, empty where nothing is known."""

    def __init__(self, server: ComfyServer) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.found: dict[str, float] = {}

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(PAUSE):
            self._look()

    def _look(self) -> None:
        with contextlib.suppress(ServerError, OSError, KeyError, IndexError):
            device = self._server.system_stats()["devices"][0]
            if device["type"] != "cpu":
                self._note("device", device["vram_total"] - device["vram_free"])
                self._note("PyTorch", device["torch_vram_total"])
        with contextlib.suppress(OSError, StopIteration):
            status = Path("/proc", str(self._server.pid), "status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            self._note("host", int(line.split()[1]) * 1024)

    def _note(self, name: str, size: float) -> None:
        self.found[name] = max(self.found.get(name, 0.0), size / GIB)
