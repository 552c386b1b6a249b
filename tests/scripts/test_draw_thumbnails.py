"""The templates' pictures, and what the embedded model makes of each kind of workflow."""

from pathlib import Path

import av
import draw_thumbnails
import numpy as np
import pytest
from comfyui.server import ComfyServer
from embedded_examples import ARRIVED, CIRCLE, EXAMPLES, HALF_WAY
from PIL import Image
from shipped.names import TITLES

# Which picture a workflow's frame must show. A circle elsewhere misses it by more than NEAR.
SHOWN = {
    "keyframes": {0: CIRCLE, 8: HALF_WAY, -1: ARRIVED},
    "loop": {0: CIRCLE},
    "box": {0: CIRCLE},
}
NEAR = 0.01


@pytest.fixture(scope="module")
def videos(server: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    draw_thumbnails.make_videos(SHOWN, folder, server, "--steps", "8")
    return folder


def pixels(name: str) -> np.ndarray:
    with Image.open(draw_thumbnails.PACK / "assets" / name) as image:
        return np.asarray(image.convert("RGB")) / 255


def frames(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") / 255 for frame in container.decode(video=0)]


@pytest.mark.server
@pytest.mark.parametrize("short", SHOWN)
def test_frames_show_the_pictures_they_were_given(videos: Path, short: str) -> None:
    """Not mush: the picture at its frame, and none of the other pictures there."""
    made = frames(videos / f"{short}.mp4")
    for number, name in SHOWN[short].items():
        assert float(((made[number] - pixels(name)) ** 2).mean()) < NEAR, (number, name)
        for other in {CIRCLE, HALF_WAY, ARRIVED} - {name}:
            assert float(((made[number] - pixels(other)) ** 2).mean()) > NEAR, (number, other)


@pytest.mark.server
def test_something_moves(videos: Path) -> None:
    for short in SHOWN:
        made = frames(videos / f"{short}.mp4")
        assert max(float(np.abs(frame - made[0]).mean()) for frame in made) > 0.01, short


@pytest.mark.server
def test_a_video_becomes_an_animation(videos: Path, tmp_path: Path) -> None:
    with Image.open(draw_thumbnails.draw("keyframes", videos, tmp_path)) as image:
        assert (image.format, image.size) == ("WEBP", draw_thumbnails.SIZE)
        assert getattr(image, "n_frames", 1) > 8


def test_without_a_video_the_graph_is_drawn(tmp_path: Path) -> None:
    for short in TITLES:
        if short in EXAMPLES:
            continue
        with Image.open(draw_thumbnails.draw(short, tmp_path, tmp_path)) as image:
            assert image.size == draw_thumbnails.SIZE
            # Groups, nodes and words: more than an empty card.
            assert len(image.convert("RGB").getcolors(200_000) or []) > 200
