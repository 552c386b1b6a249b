"""The demo's example pictures are what the small world draws, with the captions it gives."""

from pathlib import Path

import demo_prompt
import numpy as np
from PIL import Image

from research.small_world.judge.pairs import picture
from research.small_world.world.examples import EXAMPLES
from research.small_world.world.scenes import is_held_out


def test_the_demo_says_the_examples_own_captions(root: Path):
    captions = {root / "assets" / f"{name}.png": s.caption for name, s in EXAMPLES.items()}
    assert captions == demo_prompt.EXAMPLES
    assert all(s.fps == demo_prompt.EMBEDDED_SETTINGS["fps"] for s in EXAMPLES.values())


def test_the_files_are_the_scenes_first_frames(root: Path):
    for name, scene in EXAMPLES.items():
        pixels = np.asarray(Image.open(root / "assets" / f"{name}.png"))
        assert np.array_equal(pixels, picture(scene, 0))


def test_the_examples_differ_and_never_train():
    scenes = EXAMPLES.values()
    assert [len({getattr(s, what) for s in scenes}) for what in ("shape", "colour", "motion")] == [
        3
    ] * 3
    assert all(is_held_out(s.shape, s.colour, s.motion) for s in scenes)
