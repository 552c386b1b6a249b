"""A real server with the pack alone, for what the shipped workflows need of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer


@pytest.fixture(scope="session")
def server(root: Path) -> Iterator[ComfyServer]:
    folder = os.environ.get("COMFYUI_PATH")
    if not folder:
        pytest.skip("COMFYUI_PATH is not set: run python3 scripts/test.py for the server's tests")
    with ComfyServer(folder, packs=[root], cpu=True) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.object_info()
