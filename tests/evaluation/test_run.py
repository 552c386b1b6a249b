"""Across a whole comparison: what is made, what survives a break, and the same bytes every time."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("av")

from evaluation.__main__ import compare_systems
from evaluation.command import EvaluationError
from evaluation.comparison import Comparison, read_comparison
from evaluation.results import read_results
from evaluation.systems.videos import StillSystem
from evaluation.videos import write_video
from research.small_world.train.extractor import SmallExtractor, export
from research.small_world.world.dataset import SmallWorld

CLIPS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three captioned videos, of one of them a copy that runs backwards, and an extractor."""
    folder = tmp_path_factory.mktemp("data")
    source = SmallWorld(CLIPS, num_frames=18)
    with (folder / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "caption"])
        for i in range(CLIPS):
            clip = source.load(i, 0)
            write_video(folder / f"{i}.mp4", clip.frames)
            (folder / "made").mkdir(exist_ok=True)
            write_video(folder / "made" / f"{i}.mp4", clip.frames.flip(0))
            rows.writerow([f"{i}.mp4", clip.caption])
    export(SmallExtractor().eval(), folder / "extractor.pt")
    return folder


def comparison(data: Path, table: str = "clips.csv", **protocol: Any) -> Comparison:
    settings = {
        "data": {"kind": "table", "path": str(data / table)},
        "clips": CLIPS,
        "stride": 1,
        "size": [64, 64],
        "extractor": str(data / "extractor.pt"),
        "preprocessing": "none",
        "pic": "pixels",
    }
    systems = [
        {"name": "backwards", "kind": "folder", "path": str(data / "made")},
        {"name": "still", "kind": "still"},
    ]
    return read_comparison({"protocol": {**settings, **protocol}, "systems": systems, "strips": 1})


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (folder / "results.json", folder / "report.html")}


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    compare_systems(comparison(data), folder)
    return folder


def test_results_hold_protocol_figures_and_differences(run: Path):
    results = json.loads((run / "results.json").read_text())
    backwards, still = results["systems"]
    assert [backwards["clips"], still["clips"]] == [CLIPS, CLIPS]
    assert results["protocol"]["clips"] == CLIPS
    assert len(results["protocol_hash"]) == 12
    assert "protocol.clip is empty" in results["not_measured"]["CLIP similarity"]
    assert still["figures"]["pic"]["value"] == pytest.approx(1, abs=1e-6)
    assert still["figures"]["flicker"]["value"] == pytest.approx(0, abs=1e-4)
    assert backwards["figures"]["fvd"]["low"] is None
    pair = still["differences"]["pic"]["value"]
    expected = still["figures"]["pic"]["value"] - backwards["figures"]["pic"]["value"]
    assert pair == pytest.approx(expected, abs=1e-9)


def test_a_broken_run_goes_on_to_the_same_bytes(data: Path, run: Path, tmp_path: Path):
    """Parts first, then clips, notes and features lost, then a half-written file."""
    for part in ("1/2", "0/2"):
        compare_systems(comparison(data), tmp_path, part=part)
    assert not (tmp_path / "results.json").exists()
    (tmp_path / "clips" / "still" / "00001.mp4").unlink()
    (tmp_path / "clips" / "true" / "00000.json").unlink()
    (tmp_path / "clips" / "backwards" / "00002.mp4.99.part").write_bytes(b"half")
    compare_systems(comparison(data), tmp_path)
    assert files(tmp_path) == files(run)
    for kept in list((tmp_path / "features").iterdir())[::2]:
        kept.unlink()
    compare_systems(comparison(data), tmp_path)
    assert files(tmp_path) == files(run)


def test_another_protocol_is_refused_in_the_folder_and_beside(data: Path, run: Path):
    with pytest.raises(EvaluationError, match=r"begun with seed 123 \(now 9\)"):
        compare_systems(comparison(data, seed=9), run)


def test_two_runs_of_one_protocol_stand_in_one_report(data: Path, run: Path, tmp_path: Path):
    compare_systems(comparison(data), tmp_path / "a", others=[run])
    text = (tmp_path / "a" / "report.html").read_text()
    assert f"still ({run.name})" in text
    # The other run's differences are against its own first system, not against this one's.
    against = text.partition("<h2>Against backwards")[2].partition("<h2>")[0]
    assert "<td>still</td>" in against
    assert run.name not in against
    with pytest.raises(EvaluationError, match="measured by another protocol: seed 123"):
        compare_systems(comparison(data, seed=9), tmp_path / "b", others=[run])


def test_runs_of_one_name_stand_beside_each_other(data: Path, run: Path, tmp_path: Path):
    others = [tmp_path / name for name in ("a/run", "b/run", "last")]
    for other in others:
        other.mkdir(parents=True)
        (other / "results.json").write_bytes((run / "results.json").read_bytes())
    others[2] = others[2] / "results.json"
    compare_systems(comparison(data), tmp_path / "own", others=[*others, others[0]])
    text = (tmp_path / "own" / "report.html").read_text()
    figures = text.partition("<h2>Figures")[2].partition("</table>")[0]
    for name in ("a/run", "b/run", "last"):
        assert figures.count(f"<td>still ({name})</td>") == 1
    assert figures.count("<td>still") == 4


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"protocol": 5, "systems": []}', '{"protocol": {}, "systems": [{}]}']
)
def test_another_runs_file_that_holds_no_results_is_named(content: str, tmp_path: Path):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(EvaluationError, match=r"results\.json holds no results"):
        read_results(tmp_path)


def test_what_cannot_be_made_is_named_and_the_rest_measured(data: Path, tmp_path: Path):
    """A missing prompt, a broken video of a system, a system without its folder."""
    rows = (data / "clips.csv").read_text().splitlines()
    (data / "holes.csv").write_text("\n".join([*rows[:3], "2.mp4,"]))
    (data / "few").mkdir()
    (data / "few" / "0.mp4").write_bytes((data / "made" / "0.mp4").read_bytes())
    (data / "few" / "1.mp4").write_bytes(b"no video")
    found = comparison(data, "holes.csv")
    few, gone = (
        found.systems[0].model_copy(update={"name": name, "path": str(data / name)})
        for name in ("few", "gone")
    )
    changed = found.model_copy(update={"systems": [few, gone, found.systems[1]]})
    compare_systems(changed, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [system["clips"] for system in results["systems"]] == [1, 0, 2]
    (sentence,) = results["failures"]
    assert "has no caption; write one" in sentence
    (sentence,) = results["systems"][0]["failures"]
    assert "1.mp4 gives no clip" in sentence
    (sentence,) = results["systems"][1]["failures"]
    assert "gone is not a folder" in sentence
    text = (tmp_path / "report.html").read_text()
    assert "gone is not a folder" in text
    assert "not made" in text


@contextmanager
def opened(system: Any, device: str, protocol: Any) -> Iterator[Any]:
    """A system whose library fails as its name says."""
    del device, protocol
    if system.name == "damaged":
        raise Exception("expected `,` at line 1")

    def make(item: Any) -> torch.Tensor:
        if item.number == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return item.clip.frames

    yield make


def test_what_a_library_raises_stops_its_system_or_clip_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = comparison(data)
    monkeypatch.setattr(StillSystem, "open", opened)
    damaged, full = (found.systems[1].model_copy(update={"name": n}) for n in ("damaged", "full"))
    systems = [damaged, full, found.systems[0]]
    compare_systems(found.model_copy(update={"systems": systems}), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [system["clips"] for system in results["systems"]] == [0, 2, 3]
    one, two, _ = (system["failures"] for system in results["systems"])
    assert "damaged cannot be opened (Exception: expected `,` at line 1); check" in one[0]
    assert "full fails on clip 1 (OutOfMemoryError: CUDA out of memory.); check" in two[0]


def test_a_true_clip_that_was_damaged_is_named_and_the_rest_measured(data: Path, tmp_path: Path):
    compare_systems(comparison(data), tmp_path, part="0/1")
    (tmp_path / "clips" / "true" / "00001.mp4").write_bytes(b"no video")
    compare_systems(comparison(data), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [system["clips"] for system in results["systems"]] == [2, 2]
    (sentence,) = results["failures"]
    assert "00001.mp4 gives no clip" in sentence
    assert "To cut it again, delete" in sentence
    (tmp_path / "clips" / "true" / "00001.json").unlink()
    compare_systems(comparison(data), tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["failures"] == []


def test_a_system_that_always_fails_is_left(data: Path, tmp_path: Path):
    changed = comparison(data)
    (data / "empty").mkdir(exist_ok=True)
    write_video(data / "empty" / "other.mp4", torch.zeros(2, 3, 16, 16))
    empty = changed.systems[0].model_copy(update={"path": str(data / "empty")})
    compare_systems(changed.model_copy(update={"systems": [empty]}), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["systems"][0]["failures"][-1].endswith("start again.")


def test_the_page_stands_alone_and_escapes_foreign_text(data: Path, run: Path, tmp_path: Path):
    from evaluation.report import write_report

    results = json.loads((run / "results.json").read_text())
    results["title"] = "<script>alert(1)</script>"
    text = write_report(tmp_path, results, []).read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    whole = (run / "report.html").read_text()
    for outside in ('src="http', 'href="http', "<link", "@import", "url("):
        assert outside not in whole.replace("url(#", "")
