import numpy as np
import pytest

from research.small_world.ablations.clips import Clips, measured_scenes
from research.small_world.ablations.figures import ENDPOINTS, figures
from research.small_world.ablations.trials import Trial
from research.small_world.judge.shapes import load_classifier
from research.small_world.world.render import render_clip
from research.small_world.world.scenes import DIRECTIONS, is_held_out

FRAMES = 8


@pytest.fixture(scope="module")
def scenes():
    return measured_scenes(8, 89)


@pytest.fixture(scope="module")
def true(scenes) -> np.ndarray:
    return np.stack([(render_clip(s, FRAMES) * 255).round().astype(np.uint8) for s in scenes])


def means(videos: np.ndarray, scenes, trial: Trial) -> dict[str, float]:
    found = figures(videos, scenes, trial, load_classifier())
    return dict(zip(ENDPOINTS, np.mean(found, axis=0), strict=True))


def test_measured_scenes_are_new_slow_and_go_each_way_alike_often():
    scenes = measured_scenes(12, 89)
    assert [s.motion for s in scenes] == list(DIRECTIONS) * 3
    assert all(s.fps <= 16 and is_held_out(s.shape, s.colour, s.motion) for s in scenes)
    assert all(26 <= s.x <= 38 and 26 <= s.y <= 38 for s in scenes)
    assert measured_scenes(4, 89) == scenes[:4]
    assert measured_scenes(4, 88) != scenes[:4]


def test_training_clips_hold_the_whole_motion():
    clips = Clips(3, FRAMES)
    scene, clip = clips.scenes[1], clips.load(1, 0)
    assert len(clips) == 3 and clip.frames.shape[0] == FRAMES
    whole = render_clip(scene) * 2 - 1
    assert np.allclose(clip.frames[0], whole[0]) and np.allclose(clip.frames[-1], whole[-1])


@pytest.mark.parametrize("frame", [0, 4])
def test_figures_of_true_clips(scenes, true: np.ndarray, frame: int):
    found = means(true, scenes, Trial(frame=frame))
    assert found["direction"] == found["kind"] == 1 and found["shape"] > 0.95
    assert found["distance"] == pytest.approx(1, abs=0.1)
    assert found["picture"] == found["nearest"] > 50
    assert found["colour"] > 0.95


def test_figures_of_the_opposite_words_of_still_and_of_foreign_clips(scenes, true: np.ndarray):
    against = means(true, scenes, Trial(words="opposite"))
    assert against["direction"] == 0 and against["distance"] < -0.9
    still = means(np.repeat(true[:, :1], FRAMES, axis=1), scenes, Trial())
    assert still["direction"] == still["distance"] == 0 and still["picture"] > 50
    later = means(np.roll(true, 3, axis=1), scenes, Trial())
    assert later["nearest"] > 50 > later["picture"]
    early = true.copy()
    early[:, FRAMES // 2 :] = early[:, :1, :, :1, :1]
    gone = means(early, scenes, Trial())
    assert gone["kind"] < 1 and 0.4 < gone["shape"] < 0.8
    foreign = means(np.roll(true, 1, axis=0), scenes, Trial())
    assert (
        foreign["kind"] < 1
        and foreign["shape"] < 0.5
        and foreign["colour"] < 0.5
        and foreign["nearest"] < 25
    )
