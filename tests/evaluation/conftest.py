"""Makes `evaluation`, and what it measures, importable."""

from pathlib import Path

import pytest
from checkout import import_package

import_package("evaluation")
import_package("training")
import_package("research")
import_package("scripts")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two clips of the small world as videos, and the table of their captions."""
    from evaluation.videos import write_video
    from research.small_world.world.dataset import SmallWorld

    source, rows = SmallWorld(2, num_frames=16), ["path,caption"]
    for number in range(2):
        clip = source.load(number, 0)
        write_video(tmp_path / f"{number}.mp4", clip.frames)
        rows.append(f"{number}.mp4,{clip.caption}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    return tmp_path / "clips.csv"
