from pathlib import Path

import pytest
import torch

pytest.importorskip("av")

from dc_model.metrics.pic import pixel_distance
from evaluation.command import EvaluationError
from evaluation.conformity import DISTANCES, measure_videos, pairs_of, summarize
from evaluation.videos import ClipShape, write_video

SHAPE = ClipShape(frames=3, resolution=(16, 16))


def write_levels(path: Path, *levels: float) -> None:
    """A video of grey frames; levels in [0, 1]."""
    path.parent.mkdir(exist_ok=True)
    grey = torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    write_video(path, grey * 2 - 1)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name, far in (("a", 0.2), ("b", 0.6)):
        write_levels(tmp_path / "videos" / f"{name}.mp4", 0.2, 0.2 + far / 2, 0.2 + far)
        write_levels(tmp_path / "images" / f"{name}.mp4", 0.2, 1.0, 1.0)
    return tmp_path / "videos", tmp_path / "images"


def measure(videos: Path, images: Path, work: Path) -> list[float]:
    pairs = pairs_of(videos, images)
    return measure_videos(pairs, work, SHAPE, pixel_distance, DISTANCES["pixels"])


def test_pic_of_a_folder_by_value(folders: tuple[Path, Path], tmp_path: Path):
    values = measure(*folders, tmp_path / "work")
    assert values == pytest.approx([1 - 0.1, 1 - 0.3], abs=2 / 255)
    result = summarize(values, SHAPE, "pixels")
    assert result.value == pytest.approx(0.8, abs=2 / 255)
    assert "2 videos of 3 frames, 16x16" in str(result)
    assert "not the published PIC" in str(result)
    assert str(summarize(values, SHAPE, "dreamsim")).startswith("PIC = 0.8")


def test_values_are_kept(folders: tuple[Path, Path], tmp_path: Path):
    values = measure(*folders, tmp_path / "work")

    def never(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed again")

    name = DISTANCES["pixels"]
    assert measure_videos(pairs_of(*folders), tmp_path / "work", SHAPE, never, name) == values


def test_a_video_without_its_image_is_left_out(folders: tuple[Path, Path], tmp_path: Path):
    (folders[1] / "b.mp4").unlink()
    assert len(measure(*folders, tmp_path / "work")) == 1
    with pytest.raises(EvaluationError, match="No video could be read with its image"):
        summarize([], SHAPE, "pixels")


def test_videos_of_one_name_are_paired_by_their_folders_or_refused(tmp_path: Path):
    videos, images = tmp_path / "videos", tmp_path / "images"
    for folder in (videos / "a", videos / "b", images / "a", images / "b"):
        folder.mkdir(parents=True)
        (folder / "clip.mp4").touch()
    pairs = [(v.parent.name, i.parent.name) for v, i in pairs_of(videos, images)]
    assert pairs == [("a", "a"), ("b", "b")]
    (images / "b" / "clip.mp4").rename(images / "b" / "other.mp4")
    with pytest.raises(EvaluationError, match=r"b/clip\.mp4 could not be paired: a/clip\.mp4, b/"):
        pairs_of(videos, images)
    (images / "one.png").touch()
    (images / "one.jpg").touch()
    (videos / "one.mp4").touch()
    with pytest.raises(EvaluationError, match=r"one\.jpg, one\.png share a name"):
        pairs_of(videos, images)
