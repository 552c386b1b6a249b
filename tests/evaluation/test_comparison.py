"""The file of a comparison, and what a protocol's hash depends on."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")

from checkout import ROOT

from evaluation.command import EvaluationError
from evaluation.comparison import load_comparison, read_comparison
from evaluation.protocol import PRESETS, Measured, Protocol


def values(**protocol: Any) -> dict[str, Any]:
    data = {"kind": "ucf101", "path": "UCF-101"}
    return {
        "protocol": {"data": data, **protocol},
        "systems": [{"name": "still", "kind": "still"}],
    }


def test_shipped_comparisons_are_valid():
    files = sorted((ROOT / "evaluation" / "comparisons").glob("*.yaml"))
    assert files
    for file in files:
        load_comparison(file)


def test_the_papers_preset():
    protocol = read_comparison(values(preset="paper")).protocol
    assert (protocol.clips, protocol.frames, protocol.stride) == (2048, 16, 3)
    assert (protocol.size, protocol.pic, protocol.covariance) == ((256, 256), "dreamsim", "N - 1")
    assert read_comparison(values(preset="paper", clips=16)).protocol.clips == 16


def test_every_preset_is_a_protocol():
    for name in PRESETS:
        assert read_comparison(values(preset=name)).protocol.preset == name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"protocol": {"data": {"kind": "web"}}}, r"protocol\.data\.kind is 'web'"),
        (values(preset="papre"), "preset is 'papre'; choose one of paper"),
        (values(preset=["paper"]), r"preset is '\['paper'\]'; choose one of paper"),
        (values(preset={"a": 1}), "preset is .*; choose one of paper"),
        (values(clips=1), r"protocol\.clips is 1"),
        (values(steps=3), r"protocol\.steps is not a setting"),
        ({**values(), "systems": [{"name": "x", "kind": "video"}]}, r"systems\.0"),
        ({**values(), "systems": [{"name": "../x", "kind": "still"}]}, r"systems\.0\.name"),
        ({**values(), "systems": [{"name": "true", "kind": "still"}]}, "called true"),
        (
            {**values(), "systems": [{"name": "a", "kind": "folder"}]},
            r"systems\.0\.path is missing",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_faults_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(EvaluationError, match=message):
        read_comparison({**values(), **changed})


def test_broken_files_are_named(tmp_path: Path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        load_comparison(tmp_path / "gone.yaml")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(EvaluationError, match="is not YAML"):
        load_comparison(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("- a")
    with pytest.raises(EvaluationError, match="holds no mapping"):
        load_comparison(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    "text",
    ["protocol: &a {data: *a}", "? !!timestamp 2026-01-02\n: 1", "? !!binary aGk=\n: 1"],
    ids=["circle", "date", "binary"],
)
def test_what_json_cannot_hold_is_named(text: str, tmp_path: Path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(EvaluationError, match=r"cannot be used: .* Write keys"):
        load_comparison(tmp_path / "a.yaml")


def measured(data: str = "ucf101, 5 videos (aa)", **changed: Any) -> Measured:
    protocol = read_comparison(values(**changed)).protocol
    return Measured(protocol=protocol, data=data, extractor="i3d.pt (sha256 aa)")


def test_the_hash_follows_what_changes_a_figure():
    """Every setting of a protocol but the data set's path and the preset's name."""
    base = measured()
    others: dict[str, Any] = {
        "clips": 16,
        "frames": 8,
        "stride": 2,
        "conditioning_stride": 8,
        "size": [64, 64],
        "seed": 1,
        "preprocessing": "none",
        "pic": "pixels",
        "covariance": "N",
        "resamples": 200,
        "confidence": 0.9,
    }
    assert others.keys() | {"preset", "data", "extractor", "clip"} == Protocol.model_fields.keys()
    hashes = {measured(**{key: value}).hash() for key, value in others.items()}
    assert len(hashes | {base.hash()}) == len(others) + 1
    assert measured("another").hash() != base.hash()
    assert measured(data="ucf101, 5 videos (aa)", preset="paper").hash() == base.hash()
