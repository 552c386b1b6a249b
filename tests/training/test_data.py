import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from patterns import checkerboard

from training.config import DataConfig
from training.data.sources import open_source
from training.data.video import BrokenVideo, draw_window, fit_clip

av = pytest.importorskip("av")

SMALL = {"size": (16, 24), "num_frames": 4, "frame_strides": (2, 2)}


def write_video(path: Path, level: int, frames: int = 12) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(frames):
            pixels = np.full((32, 48, 3), (level + 8 * i) % 256, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        write_video(tmp_path / f"{i}.mp4", 10 + 20 * i)
        (tmp_path / f"{i}.txt").write_text(f"caption {i}\n", encoding="utf-8")
    return tmp_path


def test_folder_clips(folder: Path):
    source = open_source(DataConfig(kind="folder", path=str(folder), **SMALL), 0)
    assert len(source) == 3
    clip = source.load(1, draw=5)
    assert clip.frames.shape == (4, 3, 16, 24)
    assert clip.caption == "caption 1"
    assert (clip.fps, clip.frame_stride) == (12.0, 2)
    steps = (clip.frames.mean(dim=(1, 2, 3)).diff() * 127.5).tolist()
    assert steps == pytest.approx([16, 16, 16], abs=3)
    assert torch.equal(source.load(1, draw=5).frames, clip.frames)


def test_table_with_motion_captions(folder: Path):
    (folder / "set.csv").write_text(
        "path,caption,dynamic_wording\n2.mp4,a red ball rolls,rolls\n", encoding="utf-8"
    )
    source = open_source(DataConfig(kind="table", path=str(folder / "set.csv"), **SMALL), 0)
    clip = source.load(0, 0)
    assert (clip.caption, clip.motion_caption) == ("a red ball rolls", "rolls")


def test_parquet_table(folder: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"path": ["0.mp4", "1.mp4"], "caption": ["a", "b"]})
    parquet.write_table(table, folder / "set.parquet")
    source = open_source(DataConfig(kind="table", path=str(folder / "set.parquet"), **SMALL), 0)
    assert source.load(1, 0).caption == "b"


def test_pictures_are_clips_of_one_frame(folder: Path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (48, 32), (255, 0, 0)).save(folder / "red.png")
    (folder / "set.csv").write_text("path,caption\nred.png,red\n", encoding="utf-8")
    config = DataConfig(kind="table", path=str(folder / "set.csv"), size=(16, 24), num_frames=1)
    frames = open_source(config, 0).load(0, 3).frames
    assert frames.shape == (1, 3, 16, 24)
    torch.testing.assert_close(frames.mean(dim=(0, 2, 3)), torch.tensor([1.0, -1.0, -1.0]))


def test_folders_take_pictures_where_one_frame_is_enough(folder: Path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (48, 32), (255, 0, 0)).save(folder / "red.png")
    counts = {
        frames: len(open_source(DataConfig(kind="folder", path=str(folder), num_frames=frames), 0))
        for frames in (1, 4)
    }
    assert counts == {1: 4, 4: 3}


def test_shards(folder: Path, tmp_path: Path):
    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "0.tar", "w") as tar:
        for name in ("0.mp4", "0.txt", "1.mp4"):
            tar.add(folder / name, arcname=name)
    source = open_source(DataConfig(kind="shards", path=str(shards), **SMALL), 0)
    assert len(source) == 2
    assert source.load(0, 0).caption == "caption 0"
    assert source.load(1, 0).caption == ""


def test_broken_and_short_files_are_skipped_and_counted(folder: Path):
    (folder / "0.mp4").write_bytes(b"no video")
    write_video(folder / "1.mp4", 10, frames=3)
    source = open_source(DataConfig(kind="folder", path=str(folder), **SMALL), 0)
    assert source.load(0, 0).caption == "caption 2"
    assert source.skipped == 2  # type: ignore[attr-defined]


def test_missing_folders_and_columns_are_named(folder: Path):
    with pytest.raises(ValueError, match="does not exist"):
        open_source(DataConfig(kind="folder", path=str(folder / "nowhere")), 0)
    (folder / "set.csv").write_text("file,caption\n0.mp4,a\n", encoding="utf-8")
    with pytest.raises(ValueError, match="needs path, caption"):
        open_source(DataConfig(kind="table", path=str(folder / "set.csv")), 0)


def test_windows_fit_and_strides_are_uniform():
    drawn = [draw_window(100, 16, (1, 6), n) for n in range(1200)]
    assert all(first + 15 * stride < 100 for first, stride in drawn)
    counts = np.bincount([stride for _, stride in drawn], minlength=7)[1:]
    assert len(counts) == 6 and counts.min() > 140
    assert {draw_window(40, 16, (1, 6), n)[1] for n in range(50)} == {1, 2}
    with pytest.raises(BrokenVideo):
        draw_window(20, 16, (2, 6), 0)


def test_fit_covers_and_cuts_the_centre():
    ramp = torch.arange(8, dtype=torch.uint8).view(1, 1, 8, 1).expand(2, 4, 8, 3)
    fitted = fit_clip(ramp, (4, 4))
    expected = torch.tensor([2.0, 3.0, 4.0, 5.0]) / 127.5 - 1
    torch.testing.assert_close(fitted[0, 0, 0], expected)


@pytest.mark.parametrize("size", [(720, 1280), (301, 533), (533, 301)], ids=str)
def test_clips_are_cut_as_at_inference(size):
    """By a pattern that shows a third of a pixel."""
    from torchvision.transforms.functional import center_crop, resize

    frames = checkerboard(*size)[None]
    expected = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = center_crop(resize(expected, [96], antialias=True), [96, 96])
    torch.testing.assert_close(fit_clip(frames, (96, 96)), expected, atol=1e-4, rtol=0)


def test_windows_are_a_fixed_few_of_each_video(folder: Path):
    for i in range(3):
        write_video(folder / f"{i}.mp4", 10, frames=60)
    options = {**SMALL, "frame_strides": (1, 6)}

    def drawn(windows: int, index: int = 0) -> set[str]:
        config = DataConfig(kind="folder", path=str(folder), windows=windows, **options)
        source = open_source(config, 0)
        return {source.load(index, draw).key for draw in range(40)}

    assert len(drawn(windows=2)) == 2
    assert len(drawn(windows=0)) > 10
    strip = {key.partition(" ")[2] for key in drawn(windows=2)}
    assert strip != {key.partition(" ")[2] for key in drawn(windows=2, index=1)}
