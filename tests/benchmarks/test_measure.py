"""All figures of one size, at a size that a test can run."""

import json
import sys
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.chart import draw
from benchmarks.device import Rates
from benchmarks.measure import PARTS, Plan, measure
from benchmarks.networks import Networks, Where
from benchmarks.report import text
from benchmarks.unet import Workload, peak_memory

PLAN = Plan(
    parts=[part for part in PARTS if part != "memory"],
    work=Workload((8, 8), 2),
    steps=2,
    repeats=2,
    growth={"frames": (1, 2), "size": [(8, 8), (8, 16)], "videos": (1, 2)},
)


@pytest.fixture(scope="module")
def found(tiny_networks: Networks, where: Where) -> dict[str, Any]:
    size = measure("256", tiny_networks, where, PLAN, Rates(1e11, 1e10), print)
    about = {"device": "a device", "dtype": "float32", "torch": "2", "threads": 2}
    return {**about, "rates": {"flops": 1e11, "bytes": 1e10}, "sizes": [size]}


def test_every_part_has_its_times(found: dict[str, Any]) -> None:
    size = json.loads(json.dumps(found))["sizes"][0]
    parts = [size["encoders"], size["decode"]]
    parts += [size[kind][who] for kind in ("call", "step") for who in ("ours", "plain")]
    for part in parts:
        assert len(part["repeats"]) == 2
        assert min(part["repeats"]) <= part["seconds"] <= max(part["repeats"])
        assert part["tflops"] * 1e12 == pytest.approx(1e11 * part["of_product_rate"])
        assert part["of_copy_rate"] > 0
    assert size["call"]["ratio"] > 0
    assert size["difference"] < 1e-5
    assert size["run"]["sampling"] > 0
    assert [row["value"] for row in size["growth"]["frames"]] == [1, 2]


def test_the_text_shows_them(found: dict[str, Any]) -> None:
    shown = text(found)
    assert "| step, plain |" in shown
    assert "times as fast as the plain one" in shown
    assert "latent (8, 16)" in shown
    assert "Whole run of 2 steps" in shown


def test_the_chart(found: dict[str, Any], tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="the benchmarks extra is not installed")
    draw(found, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_chart_without_matplotlib_is_refused_before_anything_runs(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--chart", "chart.png"])
    with pytest.raises(SystemExit, match="pip install matplotlib"):
        main()


def test_compiled_without_count_is_refused_before_anything_runs(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--compiled"])
    with pytest.raises(SystemExit):
        main()
    assert "add --count" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--steps 0", "--steps is 0; give 1 or more"),
        ("--repeats 0", "--repeats is 0; give 1 or more"),
        ("--frames -1", "--frames is -1; give 1 or more"),
        ("--threads -1", "--threads is -1; give 1 or more"),
        ("--output gone/found.json", "--output is gone/found.json; give a file in a folder"),
        ("--chart .", "--chart is .; give a file in a folder"),
        ("--device foo", "The device 'foo' cannot be used"),
        ("--device meta", "The device 'meta' cannot be used"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    words: str, sentence: str, monkeypatch, capsys, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.__main__.run", None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words.split()])
    with pytest.raises(SystemExit):
        main()
    assert sentence in capsys.readouterr().err


def test_peak_memory_of_this_process_holds_the_weights(
    tiny_networks: Networks, where: Where
) -> None:
    peak = peak_memory(tiny_networks, where, Workload((8, 8), 2), "call", "ours")
    weights = sum(p.numel() for p in tiny_networks.make_unet(where).parameters()) * 4
    assert peak is None or peak > weights
