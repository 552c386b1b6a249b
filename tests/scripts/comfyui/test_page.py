"""Opening a workflow in ComfyUI's page, where a load may be given up without a word."""

from typing import Any

import pytest
from comfyui.browser import Browser, PromiseDroppedError, find_chromium
from comfyui.page import load_graph

CHROMIUM = find_chromium()
# Nothing can settle the promise, and what is made beside it wakes the collector.
DROPPED = (
    "(setInterval(() => { window.waste = new Array(1e6).fill(0).map(() => ({})) }, 5),"
    " new Promise(() => {}))"
)


class Page:
    """A browser that drops the first loads."""

    def __init__(self, dropped: int) -> None:
        self.dropped, self.loads = dropped, 0

    def evaluate(self, expression: str) -> Any:
        assert '{"nodes": []}' in expression
        self.loads += 1
        if self.loads <= self.dropped:
            raise PromiseDroppedError("Runtime.evaluate: Promise was collected")


@pytest.mark.parametrize("dropped", [0, 1])
def test_a_dropped_load_is_begun_again(dropped: int) -> None:
    page: Any = Page(dropped)
    load_graph(page, '{"nodes": []}')
    assert page.loads == dropped + 1


def test_a_load_that_is_always_dropped_fails() -> None:
    page: Any = Page(dropped=2)
    with pytest.raises(PromiseDroppedError):
        load_graph(page, '{"nodes": []}')


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_a_dropped_promise_is_told_from_a_failure() -> None:
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as browser, pytest.raises(PromiseDroppedError):
        browser.evaluate(DROPPED, 60)
