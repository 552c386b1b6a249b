import os
from pathlib import Path

import numpy as np
import pytest
import torch
from patterns import checkerboard

from evaluation import videos
from evaluation.command import EvaluationError
from evaluation.compare import VideoSet, compare, extract_videos
from evaluation.videos import ClipShape, VideoError, list_videos, read_clip, read_image

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
    with pytest.raises(VideoError, match="8 frames do not hold 9 at stride 1"):
        read_clip(folders[0] / "0.mp4", ClipShape(frames=9))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"broken\.mp4 gives no clip"):
        read_clip(broken, ClipShape())


def sets(folders: tuple[Path, Path]) -> tuple[VideoSet, VideoSet]:
    cut = ClipShape(frames=4, stride=2, resolution=(16, 16))
    plain = ClipShape(frames=4, resolution=(16, 16))
    real, generated = (list_videos(folder) for folder in folders)
    return (
        VideoSet(name="real", videos=real, shape=cut, source_stride=3),
        VideoSet(name="generated", videos=generated, shape=plain),
    )


def test_compare_prints_protocols_and_resumes(folders, tmp_path):
    extractor = MeanColour()
    result = compare(*sets(folders), tmp_path / "work", extractor)
    assert extractor.calls == 8
    # Grey levels of the first frames: 20 + 10 i, 100 + 10 i; the strides add 24 and 12.
    assert result.fvd == pytest.approx(3 * ((80 - 12) / 255) ** 2, rel=0.1)
    lines = str(result).splitlines()
    assert lines[0] == f"FVD = {result.fvd:.4f}"
    assert lines[1] == f"KVD = {result.kvd:.4f}"
    assert lines[2] == "  real: real: 4 clips of 4 frames, stride 6, 16x16, mean colour"
    assert lines[3] == "  generated: generated: 4 clips of 4 frames, stride 1, 16x16, mean colour"
    assert "covariance / (N - 1)" in lines[5]
    assert "no subsets" in lines[5]
    assert compare(*sets(folders), tmp_path / "work", extractor) == result
    assert extractor.calls == 8


def test_a_stopped_run_computes_the_rest_only(folders, tmp_path):
    extractor = MeanColour()
    real, generated = sets(folders)
    extract_videos(real.videos[:3], tmp_path / "work", real.shape, extractor)
    compare(real, generated, tmp_path / "work", extractor)
    assert extractor.calls == 8


def test_a_changed_video_and_another_extractor_are_computed_anew(folders, tmp_path):
    extractor = MeanColour()
    real, _ = sets(folders)
    before, _ = extract_videos(real.videos, tmp_path, real.shape, extractor)
    write_video(real.videos[0], 180)
    os.utime(real.videos[0], ns=(1, 1))
    after, _ = extract_videos(real.videos, tmp_path, real.shape, extractor)
    assert extractor.calls == 5
    assert float(after[0].mean()) > float(before[0].mean()) + 0.5
    extractor.name = "another"
    extract_videos(real.videos, tmp_path, real.shape, extractor)
    assert extractor.calls == 9


def test_broken_files_are_skipped_and_counted(folders, tmp_path):
    (folders[0] / "broken.mp4").write_bytes(b"no video")
    rows, skipped = extract_videos(
        list_videos(folders[0]), tmp_path / "work", ClipShape(frames=4), MeanColour()
    )
    assert [row.shape for row in rows] == [(3,)] * 4
    assert skipped == 1


def test_too_few_videos_are_named(folders, tmp_path):
    real, generated = sets(folders)
    few = VideoSet(name="few", videos=real.videos[:1], shape=real.shape)
    with pytest.raises(EvaluationError, match=r"few gives 1 clips of 4 frames.*at least 2"):
        compare(few, generated, tmp_path / "work", MeanColour())


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(VideoError, match="gone is not a folder"):
        list_videos(tmp_path / "gone")
    with pytest.raises(VideoError, match="holds no videos"):
        list_videos(tmp_path)


@pytest.mark.parametrize("size", [(720, 1280), (301, 533), (533, 301)], ids=str)
def test_pictures_and_clips_are_cut_as_the_published_preprocessing_does(size, tmp_path):
    from PIL import Image
    from torchvision.transforms.functional import center_crop, resize

    board = checkerboard(*size)
    Image.fromarray(board.numpy()).save(tmp_path / "a.png")
    videos.write_video(tmp_path / "a.mp4", board.permute(2, 0, 1)[None].float() / 127.5 - 1)
    expected = board.permute(2, 0, 1).float() / 255
    expected = center_crop(resize(expected, [96], antialias=True), [96, 96])
    shape = ClipShape(frames=1, resolution=(96, 96))
    for found in (
        read_image(tmp_path / "a.png", (96, 96)),
        read_clip(tmp_path / "a.mp4", shape)[0],
    ):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_read_image_takes_pictures_and_first_frames(folders, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 16), (255, 0, 51)).save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png", (8, 8))
    assert picture.shape == (3, 8, 8)
    assert picture.mean(dim=(1, 2)).tolist() == pytest.approx([1.0, 0.0, 0.2])
    frame = read_image(folders[0] / "0.mp4", (8, 8))
    assert float(frame.mean()) * 255 == pytest.approx(20, abs=3)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(VideoError, match=r"b\.png cannot be decoded"):
        read_image(tmp_path / "b.png", (8, 8))
