from pathlib import Path

import av
import numpy as np
import pytest
from comfyui.media import check_picture, write_sheet
from PIL import Image


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Six frames of 64 x 48, each lighter than the one before, at 8 frames per second."""
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * level, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_sheet_and_animation_show_the_videos_frames(video: Path, tmp_path: Path):
    webp, png = tmp_path / "a.webp", tmp_path / "a.png"
    write_sheet(video, webp, png)
    with Image.open(webp) as animation:
        assert getattr(animation, "n_frames", 1) == 6
        animation.load()
        assert (animation.size, animation.info["duration"], animation.info["loop"]) == (
            (64, 48),
            125,
            0,
        )
    with Image.open(png) as sheet:
        # 64 x 48 is shown three times as large, with gaps of 4.
        assert sheet.size == (4 * 196 + 4, 2 * 148 + 4)
        centres = [(100 + 196 * (i % 4), 76 + 148 * (i // 4)) for i in range(6)]
        levels = [sheet.convert("L").getpixel(centre) for centre in centres]
    assert levels == pytest.approx([0, 40, 80, 120, 160, 200], abs=6)


def test_pictures_that_are_fine(tmp_path: Path):
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        assert check_picture(tmp_path / name) is None


def test_pictures_that_are_broken(tmp_path: Path):
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 50).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:900])
    (tmp_path / "text.png").write_text("no picture")
    assert "cut.png is a broken picture file" in (check_picture(tmp_path / "cut.png") or "")
    assert "text.png is not a picture" in (check_picture(tmp_path / "text.png") or "")
