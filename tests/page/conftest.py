"""ComfyUI's real page in a real browser, on a server with the pack alone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_chromium
from comfy_server import ComfyServer


@pytest.fixture(scope="session")
def chromium() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium or Chrome is installed (on Debian: apt install chromium)")
    return found


@pytest.fixture(scope="session")
def server(chromium: str, root: Path) -> Iterator[ComfyServer]:
    folder = os.environ.get("COMFYUI_PATH")
    if not folder:
        pytest.skip("COMFYUI_PATH is not set: run python3 scripts/test.py for the page's tests")
    with ComfyServer(folder, packs=[root], cpu=True) as running:
        for picture in (root / "assets").glob("*.png"):
            shutil.copy(picture, running.base / "input")
        yield running


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with Browser(chromium) as running:
        yield running
