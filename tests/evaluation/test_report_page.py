"""The report in a real browser: nothing is fetched, nothing fails, all of it is to be seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui.browser import Browser, find_chromium

from evaluation.report import strips_of, write_report

SEEN = """[...document.querySelectorAll(%r)].map(e => {
  const box = e.getBoundingClientRect();
  return [e.innerText ?? '', box.width, box.height, e.tagName === 'IMG' ? e.naturalWidth : 0];
})"""
ESTIMATE = {"value": 12.5, "low": 11.0, "high": 14.0}


def results() -> dict[str, Any]:
    def system(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "clips": 9,
            "figures": {"fvd": ESTIMATE, "motion": {**ESTIMATE, "low": None, "high": None}},
            "differences": {} if name == "ours" else {"fvd": ESTIMATE},
            "curve": [[2, 4, 9], [30.0, 20.0, 12.5]],
            "endless": 9.0,
            "failures": [] if name == "ours" else ["<b>clip 3</b> was not made."],
        }

    return {
        "title": "A <comparison> of three",
        "protocol_hash": "0123456789ab",
        "protocol": {
            **{"data": "ucf101, 9 videos", "clips": 9, "frames": 4, "stride": 3, "size": [64, 64]},
            **{"extractor": "i3d.pt", "confidence": 0.95, "pic": "pixels", "covariance": "N - 1"},
            "conditioning_stride": None,
        },
        "preset": "paper",
        "columns": {"fvd": "FVD", "motion": "Motion, % per frame"},
        "systems": [system("ours"), system("a <workflow>"), system("still")],
        "failures": [],
        "not_measured": {"KVD": "KVD was not measured."},
        "versions": {"torch": "2.11.0"},
    }


def clip(name: str, number: int) -> torch.Tensor | None:
    ramp = torch.linspace(0, 1, 64).expand(4, 3, 64, 64)
    return None if (name, number) == ("still", 1) else ramp


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib", reason="the evaluation extra is not installed")
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium or Chrome is installed (on Debian: apt install chromium)")
    folder = tmp_path_factory.mktemp("page")
    strips = strips_of({0: "a boat", 1: "a <cat>"}, ["true clip", "ours", "still"], clip)
    report = write_report(folder, results(), strips)
    with Browser(chromium, (1200, 900)) as browser:
        for domain in ("Log", "Network"):
            browser.call(f"{domain}.enable")
        browser.open(report.as_uri())
        browser.wait_for("document.readyState === 'complete' && document.images.length > 0")
        yield browser


def seen(page: Browser, selector: str) -> list[Any]:
    return page.evaluate(SEEN % selector)


def test_it_stands_alone_and_nothing_fails(page: Browser) -> None:
    outside = [url for url in page.requests if not url.startswith("data:")]
    assert [Path(url).name for url in outside] == ["report.html"]
    assert page.errors == []


def test_tables_charts_and_strips_are_to_be_seen(page: Browser) -> None:
    headings = [text for text, *_ in seen(page, "h2")]
    assert headings[:2] == ["Figures", "Against ours, on the same clips"]
    assert {"Charts", "Frames", "What is missing", "Protocol and versions"} <= set(headings)
    tables = [text for text, *_ in seen(page, "table")]
    row = "a <workflow> 9 12.50 11.00 to 14.00 12.50 too few clips"
    assert row in " ".join(tables[0].split())
    charts = seen(page, ".charts svg")
    assert len(charts) == 3
    assert all(width > 150 and height > 60 for _, width, height, _ in charts)
    strips = seen(page, ".strips img")
    assert [(height, natural) for _, _, height, natural in strips] == [(64, 256)] * 5


def test_foreign_text_is_text(page: Browser) -> None:
    assert page.evaluate("document.title") == "A <comparison> of three"
    words = page.evaluate("document.body.innerText")
    for text in ("A <comparison> of three", "<b>clip 3</b> was not made.", "a <cat>", "not made"):
        assert text in words


def test_on_a_phone_only_tables_scroll_sideways(page: Browser) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.call("Emulation.setDeviceMetricsOverride", **size)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
