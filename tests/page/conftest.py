"""ComfyUI's real page in a real browser."""

import shutil
from collections.abc import Iterator

import pytest
from comfyui.browser import Browser, find_chromium
from comfyui.page import open_page
from comfyui.server import ComfyServer


@pytest.fixture(scope="session")
def chromium() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium or Chrome is installed (on Debian: apt install chromium)")
    return found


@pytest.fixture(scope="session")
def pictures(chromium: str, server: ComfyServer) -> None:
    """The server has the picture that ComfyUI brings; not started without a browser."""
    shutil.copy(server.comfyui / "input" / "example.png", server.base / "input")


@pytest.fixture(scope="module")
def browser(chromium: str, pictures: None) -> Iterator[Browser]:
    """One for each file: an open page draws all the time and slows the tests after it."""
    with Browser(chromium) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, server: ComfyServer) -> Browser:
    open_page(browser, server)
    return browser
