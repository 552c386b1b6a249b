"""What processes take of the machine, from Linux's process figures."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from comfyui.server import ComfyServer
from studio import Studio

# The host collects garbage when ten seconds have passed since it last did.
PATIENCE = 120.0


def own_memory(server: ComfyServer) -> int:
    """Bytes that the server has to itself; pages of mapped files do not count."""
    found = _figure(process_of(server), "RssAnon")
    if found is None:
        pytest.skip("needs Linux's process figures")
    return found


def settled_memory(server: ComfyServer, limit: int) -> int:
    """The same, once it is below `limit` or garbage has had its time to go."""
    deadline = time.monotonic() + PATIENCE
    while (found := own_memory(server)) >= limit and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


@dataclass(frozen=True)
class InUse:
    """What a server holds after a full collection, by its own account.

    heap: bytes that malloc handed out, without free blocks between them; None where the C library
    cannot say. tensors: bytes of all tensors' storages. objects: all that Python's collector knows.
    """

    heap: int | None
    tensors: int
    objects: int


def in_use(server: ComfyServer) -> InUse:
    """Between prompts; the server needs the tests' support pack."""
    return InUse(**server.get("/test/in_use"))


@contextlib.contextmanager
def without_one_dnn(studio: Studio) -> Iterator[None]:
    """PyTorch on plain kernels: oneDNN keeps the code that it makes for every new shape.

    Nothing computed on one side is remembered on the other: the last digits differ.
    """
    studio.forget()
    studio.server.get("/test/onednn/off")
    try:
        yield
    finally:
        studio.server.get("/test/onednn/on")
        studio.forget()


def process_of(server: ComfyServer) -> int:
    """The process id of a running server."""
    assert server._process is not None
    return server._process.pid


def peak_memory(process: int) -> int:
    """Largest resident size since `reset_peak_memory`, in bytes; 0 where untold."""
    return _figure(process, "VmHWM") or 0


def reset_peak_memory(process: int) -> None:
    """Lets the next peak begin at what the process has now."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/clear_refs").write_text("5", "ascii")


def processor_time(process: int) -> float:
    """Seconds that a process has computed for, on all cores; 0 where untold."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text("utf-8").rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _figure(process: int, name: str) -> int | None:
    """Bytes from a process's status; None where it has no such line."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
    return int(lines[name].split()[0]) * 1024 if name in lines else None
