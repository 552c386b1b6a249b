from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.compare import compare, extract_folder
from evaluation.features import i3d_input
from evaluation.videos import ClipShape, VideoError, cover, list_videos, read_clip

av = pytest.importorskip("av")


class MeanColour:
    name = "mean colour"

    def __init__(self):
        self.calls = 0

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        self.calls += len(videos)
        return videos.mean(dim=(1, 3, 4))


def write_video(path: Path, level: int, frames: int = 8, size: tuple[int, int] = (32, 48)) -> None:
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            pixels = np.full((height, width, 3), level + 8 * i, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    real, generated = tmp_path / "real", tmp_path / "generated"
    for folder in (real, generated):
        folder.mkdir()
    for i in range(4):
        write_video(real / f"{i}.mp4", 20 + 10 * i)
        write_video(generated / f"{i}.mp4", 100 + 10 * i)
    return real, generated


def test_read_clip_takes_frames_by_stride(folders):
    clip = read_clip(folders[0] / "0.mp4", ClipShape(frames=3, stride=2, resolution=(16, 16)))
    assert clip.shape == (3, 3, 16, 16)
    levels = clip.mean(dim=(1, 2, 3)) * 255
    assert levels.tolist() == pytest.approx([20, 36, 52], abs=3)


def test_too_short_and_broken_files_are_named(folders, tmp_path):
    with pytest.raises(VideoError, match="gives 8 of 9 frames"):
        read_clip(folders[0] / "0.mp4", ClipShape(frames=9))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"broken\.mp4 cannot be decoded"):
        read_clip(broken, ClipShape())


def test_compare_prints_protocols_and_resumes(folders, tmp_path):
    real, generated = folders
    extractor = MeanColour()
    shape = ClipShape(frames=4, stride=2, resolution=(16, 16))
    results = compare(real, generated, tmp_path / "work", shape, extractor)
    assert extractor.calls == 8
    assert [r.metric for r in results] == ["FVD", "KVD"]
    assert results[0].value > 0.05
    assert "real: 4 clips of 4 frames, stride 2, 16x16, mean colour" in str(results[0])
    again = compare(real, generated, tmp_path / "work", shape, extractor)
    assert extractor.calls == 8
    assert again == results


def test_broken_files_are_skipped_and_counted(folders, tmp_path):
    (folders[0] / "broken.mp4").write_bytes(b"no video")
    features, skipped = extract_folder(
        list_videos(folders[0]), tmp_path / "work", ClipShape(frames=4), MeanColour()
    )
    assert features.shape == (4, 3)
    assert skipped == 1


def test_cover_cuts_the_centre():
    video = torch.arange(8.0).expand(1, 3, 4, 8)
    assert cover(video, (4, 4))[0, 0, 0].tolist() == [2.0, 3.0, 4.0, 5.0]


def test_i3d_input_has_the_published_range_and_layout():
    x = i3d_input(torch.rand(2, 10, 3, 20, 30))
    assert x.shape == (2, 3, 10, 224, 224)
    assert i3d_input(torch.zeros(1, 9, 3, 8, 8)).unique().tolist() == [-1.0]
    ones = i3d_input(torch.ones(1, 9, 3, 8, 8))
    torch.testing.assert_close(ones, torch.ones_like(ones))
