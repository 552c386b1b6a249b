"""Across the demo's workflows: what stands in the last frame is the object of the words, whole."""

import io
import os

import av
import numpy as np
import pytest
from comfyui.server import ComfyServer, link_checkpoint
from demo_options import ASSETS, EMBEDDED, parse
from demo_prompt import make_prompt
from demo_run import saved_videos
from embedded_examples import EXAMPLES
from PIL import Image

pytestmark = [pytest.mark.server, pytest.mark.slow]

STEPS = "6"
# How much an object fills of the smallest box around it; true shapes 0.79, 1 and 0.6.
FILL = {"circle": (0.6, 0.95), "square": (0.75, 1.01), "cross": (0.4, 0.75)}
# Three videos side by side in one.
PARTS = {"lambda": 3}
# The others take minutes.
ALWAYS = ("cil", "long", "storytelling")
# A picture of the folder leaves the frame, as the words say; a dragged object is held in all of so
# few steps; the others are variations of "animate".
LEFT_OUT = ("folder", "drag", "motion_control", "guidance")


def mask(frame: np.ndarray, colour: str) -> np.ndarray:
    """Where a frame `[H, W, 3]` in [0, 1] has a colour; the small world's grounds are grey."""
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    stronger = {
        "red": red - np.maximum(green, blue),
        "blue": blue - np.maximum(red, green),
        "yellow": np.minimum(red, green) - blue,
    }
    return stronger[colour] > 0.25


def parts(frame: np.ndarray, count: int) -> list[np.ndarray]:
    """The 64 x 64 videos in one that shows several in a row."""
    return [frame[:, x : x + 64] for x in np.linspace(0, frame.shape[1] - 64, count).astype(int)]


@pytest.fixture(scope="module")
def checkpoint(server: ComfyServer) -> str:
    folder = server.base / "models" / "checkpoints"
    if not (folder / EMBEDDED.name).exists():
        link_checkpoint(EMBEDDED, folder)
    return EMBEDDED.name


def video(server: ComfyServer, checkpoint: str, *flags: str) -> list[np.ndarray]:
    """The frames `[H, W, 3]` in [0, 1] that the demo makes with these flags."""
    prompt = make_prompt(parse([*flags]), server, checkpoint)
    (saved,) = saved_videos(server.prompt(prompt))
    with av.open(io.BytesIO(server.view(**saved))) as file:
        return [frame.to_ndarray(format="rgb24") / 255 for frame in file.decode(video=0)]


def distance(frame: np.ndarray, image: str) -> float:
    """Mean squared difference of a frame from one of the demo's images."""
    with Image.open(ASSETS / image) as picture:
        return float(((np.asarray(picture.convert("RGB")) / 255 - frame) ** 2).mean())


@pytest.mark.parametrize("short", [short for short in EXAMPLES if short not in LEFT_OUT])
def test_it_shows_the_object_whole(server: ComfyServer, checkpoint: str, short: str) -> None:
    if short not in ALWAYS and "PAGE_TESTS" not in os.environ:
        pytest.skip("takes minutes; PAGE_TESTS=1 runs it")
    last = video(server, checkpoint, "--workflow", short, "--steps", STEPS)[-1]
    words = EXAMPLES[short].prompts[-1].splitlines()[-1].split()
    colour = next(word for word in words if word in ("red", "blue", "yellow"))
    shape = next(word for word in words if word in FILL)
    for part in parts(last, PARTS.get(short, 1)):
        found = mask(part, colour)
        assert 0.02 < found.mean() < 0.4
        y, x = np.nonzero(found)
        least, most = FILL[shape]
        assert least < found.sum() / ((np.ptp(x) + 1) * (np.ptp(y) + 1)) < most


def test_an_interpolation_ends_on_the_last_image(server: ComfyServer, checkpoint: str) -> None:
    """Not mush: where the small world's circle arrives, not where it began."""
    last = video(server, checkpoint, "--workflow", "interpolate", "--steps", STEPS)[-1]
    first_image, *_, last_image = EXAMPLES["interpolate"].pictures
    assert distance(last, last_image) < 0.01 < distance(last, first_image)


def test_an_end_image_makes_an_interpolation(server: ComfyServer, checkpoint: str) -> None:
    images = [str(ASSETS / name) for name in ("sailboat.png", "sailboat_dusk.png")]
    flags = ("--image", images[0], "--end-image", images[1], "--frames", "4", "--steps", "1")
    assert len(video(server, checkpoint, *flags)) == 4
