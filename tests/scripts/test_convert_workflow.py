"""The command that converts a file."""

import json
from pathlib import Path

import convert_workflow
import foreign_workflows as theirs
import pytest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(theirs.wrapper_animates().saved()), encoding="utf-8")
    return path


def test_it_writes_ours_and_says_what_is_lost(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = source.read_bytes()
    target = tmp_path / "ours.json"
    assert convert_workflow.main([str(source), str(target)]) == 0
    kinds = {node["type"] for node in json.loads(target.read_text("utf-8"))["nodes"]}
    assert "DynamiCrafterSampler" in kinds and "DynamiCrafterI2V" not in kinds
    assert source.read_bytes() == before
    assert "- DynamiCrafterI2V (8), augmentation_level = 0.2: no counterpart." in (
        capsys.readouterr().out
    )


def test_a_file_with_a_byte_order_mark_is_read(source: Path, tmp_path: Path) -> None:
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
    assert convert_workflow.main([str(source), str(tmp_path / "ours.json")]) == 0


def boxed(content: dict) -> dict:
    return {"nodes": [], "definitions": {"subgraphs": [content]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "nested"),
        ("1" * 5000, "is not JSON"),
        ('{"nodes": [{"type": "LoadImage"}]}', "nodes[0].id is nothing"),
        ('{"nodes": [{"id": 1, "type": 2}]}', "nodes[0].type is of type int"),
        ('{"nodes": [3]}', "nodes[0] is of type int"),
        ('{"nodes": [], "links": [[1, 2]]}', "links[0] is a list of 2"),
        ('{"1": {"class_type": "A", "inputs": 3}}', "1.inputs is of type int"),
        ("[]", "neither a workflow as ComfyUI saves it nor"),
        ('{"nodes": []}', "has no node of another DynamiCrafter or ToonCrafter pack"),
        (json.dumps(boxed(theirs.view().saved())), "stands inside a subgraph or group node"),
    ],
)
def test_other_files_are_refused(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "theirs.json", tmp_path / "ours.json"
    source.write_text(content, encoding="utf-8")
    assert convert_workflow.main([str(source), str(target)]) == 1
    assert message in capsys.readouterr().err
    assert not target.exists()


def test_the_original_is_never_overwritten(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert_workflow.main([str(source), str(source)]) == 1
    assert "give the new one another name" in capsys.readouterr().err
    assert convert_workflow.main([str(source)]) == 2
    assert convert_workflow.main([str(source) + "x", "y"]) == 1
