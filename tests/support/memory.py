"""A server's own memory, from Linux's process figures."""

from pathlib import Path

import pytest
from comfy_server import ComfyServer


def own_memory(server: ComfyServer) -> int:
    """Bytes that the server has to itself; pages of mapped files do not count."""
    process = server._process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("needs Linux's process figures")
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
