import tarfile
from pathlib import Path

import pytest
import torch
from video_files import write_video

from training.config import ConfigError, DataConfig
from training.data.sources import open_source

SMALL = {"size": (16, 24), "num_frames": 4, "frame_strides": (2, 2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        write_video(tmp_path / f"{i}.mp4", 12)
        (tmp_path / f"{i}.txt").write_text(f"caption {i}\n", encoding="utf-8")
    return tmp_path


def test_folder_clips(folder: Path):
    source = open_source(DataConfig(kind="folder", path=str(folder), **SMALL))
    assert len(source) == 3
    clip = source.load(1, draw=5)
    assert clip.frames.shape == (4, 3, 16, 24)
    assert clip.caption == "caption 1"
    assert (clip.fps, clip.frame_stride) == (12.0, 2)
    steps = (clip.frames.mean(dim=(1, 2, 3)).diff() * 127.5).tolist()
    assert steps == pytest.approx([8, 8, 8], abs=2)
    assert torch.equal(source.load(1, draw=5).frames, clip.frames)


def test_table_with_motion_captions(folder: Path):
    (folder / "set.csv").write_text(
        "path,caption,dynamic_wording\n2.mp4,a red ball rolls,rolls\n", encoding="utf-8"
    )
    source = open_source(DataConfig(kind="table", path=str(folder / "set.csv"), **SMALL))
    clip = source.load(0, 0)
    assert (clip.caption, clip.motion_caption) == ("a red ball rolls", "rolls")


def test_parquet_table(folder: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"path": ["0.mp4", "1.mp4"], "caption": ["a", "b"]})
    parquet.write_table(table, folder / "set.parquet")
    source = open_source(DataConfig(kind="table", path=str(folder / "set.parquet"), **SMALL))
    assert source.load(1, 0).caption == "b"


def test_pictures_are_clips_of_one_frame(folder: Path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (48, 32), (255, 0, 0)).save(folder / "red.png")
    (folder / "set.csv").write_text("path,caption\nred.png,red\n", encoding="utf-8")
    config = DataConfig(kind="table", path=str(folder / "set.csv"), size=(16, 24), num_frames=1)
    frames = open_source(config).load(0, 3).frames
    assert frames.shape == (1, 3, 16, 24)
    torch.testing.assert_close(frames.mean(dim=(0, 2, 3)), torch.tensor([1.0, -1.0, -1.0]))


def test_folders_take_pictures_where_one_frame_is_enough(folder: Path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (48, 32), (255, 0, 0)).save(folder / "red.png")
    counts = {
        frames: len(open_source(DataConfig(kind="folder", path=str(folder), num_frames=frames)))
        for frames in (1, 4)
    }
    assert counts == {1: 4, 4: 3}


def test_shards(folder: Path, tmp_path: Path):
    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "0.tar", "w") as tar:
        for name in ("0.mp4", "0.txt", "1.mp4"):
            tar.add(folder / name, arcname=name)
    source = open_source(DataConfig(kind="shards", path=str(shards), **SMALL))
    assert len(source) == 2
    assert source.load(0, 0).caption == "caption 0"
    assert source.load(1, 0).caption == ""


def test_broken_and_short_files_are_skipped_and_counted(folder: Path):
    (folder / "0.mp4").write_bytes(b"no video")
    write_video(folder / "1.mp4", 3)
    source = open_source(DataConfig(kind="folder", path=str(folder), **SMALL))
    assert source.load(0, 0).caption == "caption 2"
    assert source.skipped == 2  # type: ignore[attr-defined]


def test_data_without_a_readable_video_says_so(folder: Path):
    (folder / "0.mp4").write_bytes(b"no video")
    for name in ("1.mp4", "2.mp4"):
        write_video(folder / name, 3)
    source = open_source(DataConfig(kind="folder", path=str(folder), **SMALL))
    with pytest.raises(
        ConfigError, match=r"None of 3 videos .* gives 4 frames; the last is 2\.mp4"
    ):
        source.load(0, 0)


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("folder", "nowhere", "does not exist; data.kind folder reads a folder"),
        ("folder", "", "does not exist"),
        ("folder", "0.txt", "is not a folder"),
        ("shards", "0.txt", "is not a folder"),
        ("table", "", "does not exist; data.kind table reads a file"),
        ("table", ".", "is not a file"),
        ("shards", ".", "holds no videos for data.kind 'shards'"),
        ("table", "set.csv", "needs path and caption"),
        ("small_world", "", r"is drawn, not read; train on it by `python -m research"),
    ],
)
def test_data_that_is_not_there_is_named(folder: Path, kind: str, path: str, message: str):
    (folder / "set.csv").write_text("file,caption\n0.mp4,a\n", encoding="utf-8")
    config = DataConfig(kind=kind, path=str(folder / path) if path else "")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        open_source(config)


def test_windows_are_a_fixed_few_of_each_video(folder: Path):
    for i in range(3):
        write_video(folder / f"{i}.mp4", 60)
    options = {**SMALL, "frame_strides": (1, 6)}

    def drawn(windows: int, index: int = 0) -> set[str]:
        config = DataConfig(kind="folder", path=str(folder), windows=windows, **options)
        source = open_source(config)
        return {source.load(index, draw).key for draw in range(40)}

    assert len(drawn(windows=2)) == 2
    assert len(drawn(windows=0)) > 10
    strip = {key.partition(" ")[2] for key in drawn(windows=2)}
    assert strip != {key.partition(" ")[2] for key in drawn(windows=2, index=1)}
