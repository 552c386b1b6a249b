"""Across the command: killed and started again, it gives the bytes of a whole run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="the training extra is not installed")
pytest.importorskip("av")

from evaluation.__main__ import main

CLIPS, PATIENCE = 2, 300.0


@pytest.fixture
def described(table: Path, root: Path) -> Path:
    """A comparison of the demo model and a still picture."""
    weights = str(root / "assets" / "demo" / "small_world.safetensors")
    model = {"name": "model", "kind": "checkpoint", "checkpoint": weights, "steps": 2, "cfg": 1.0}
    protocol = {
        **{"data": {"kind": "table", "path": str(table)}, "clips": CLIPS},
        **{"frames": 16, "stride": 1, "size": [64, 64], "pic": "pixels"},
    }
    systems = [model, {"name": "still", "kind": "still"}]
    file = table.with_name("comparison.json")
    file.write_text(json.dumps({"protocol": protocol, "systems": systems, "strips": 1}))
    return file


def kill_after_the_first_clip(words: list[str], root: Path, clips: Path) -> None:
    """SIGKILL as soon as the model's folder holds a whole clip."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evaluation", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE
    while not list(clips.glob("*.mp4")):
        assert process.poll() is None, "it ended before it made a clip"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_killed_and_started_again(
    described: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, clips = [str(described), "--output"], tmp_path / "killed" / "clips" / "model"
    kill_after_the_first_clip([*words, str(tmp_path / "killed")], root, clips)
    made = {path.name: path.read_bytes() for path in clips.glob("*.mp4")}
    assert 1 <= len(made) < CLIPS
    assert not (tmp_path / "killed" / "results.json").exists()
    for folder in ("killed", "whole"):
        monkeypatch.setattr(sys, "argv", ["evaluation", *words, str(tmp_path / folder)])
        main()
    assert made.items() <= {path.name: path.read_bytes() for path in clips.glob("*.mp4")}.items()
    for name in ("results.json", "report.html"):
        found, expected = (tmp_path / folder / name for folder in ("killed", "whole"))
        assert found.read_bytes() == expected.read_bytes()
