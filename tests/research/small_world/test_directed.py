"""Motion that is shown, measured: the measures are right where the answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from dc_model.motion.warp import grown
from research.small_world.directed import camera, dial, drag, hold
from research.small_world.directed.__main__ import parse, report
from research.small_world.directed.flow import Move, moves_of
from research.small_world.judge.pairs import held_out, is_near_middle
from research.small_world.world.render import render_clip
from research.small_world.world.scenes import DIRECTIONS, NUM_FRAMES, SIZE, Scene

# -- flow -----------------------------------------------------------------------------------------


def moved(picture: np.ndarray, shift: tuple[float, float], zoom: float, turn: float) -> np.ndarray:
    """The picture after a zoom, a clockwise turn in degrees and a shift, by SciPy's splines."""
    cos, sin = np.cos(np.radians(turn)) / zoom, np.sin(np.radians(turn)) / zoom
    back = np.array([[cos, -sin], [sin, cos]])  # rows y, x
    middle = (np.array(picture.shape[:2]) - 1) / 2
    whole = np.eye(3)
    whole[:2, :2], whole[:2, 2] = back, middle - back @ (middle + shift[::-1])
    channels = np.moveaxis(picture, -1, 0)
    seen = [ndimage.affine_transform(c, whole, order=3, mode="nearest") for c in channels]
    return np.stack(seen, axis=-1)


@pytest.mark.parametrize(
    ("shift", "zoom", "turn"),
    [((0, 0), 1, 0), ((9, -6), 1, 0), ((0, 0), 1.3, 0), ((0, 0), 0.77, 0), ((3, 1), 1.1, 25)],
)
def test_the_flow_of_a_known_move(shift: tuple[float, float], zoom: float, turn: float):
    noise = np.random.default_rng(0).random((SIZE, SIZE, 3))
    picture = ndimage.gaussian_filter(noise, (5, 5, 0)) * 8
    path = np.linspace(0, 1, 6)
    video = [moved(picture, (shift[0] * t, shift[1] * t), zoom**t, turn * t) for t in path]
    last = moves_of(np.stack(video), picture)[-1]
    assert last.shift == pytest.approx(complex(*shift), abs=0.1)
    assert abs(last.turn) == pytest.approx(zoom, abs=0.01)
    assert np.degrees(np.angle(last.turn)) == pytest.approx(turn, abs=0.5)


def test_a_move_without_a_step_is_the_step_undone_first():
    points = np.array([1 + 2j, -3 + 0.5j])
    move, step = Move(2 - 1j, 1.2 + 0.3j), Move(0.5 + 0.1j, 0.9 - 0.1j)
    np.testing.assert_allclose(move.without(step).seen(step.seen(points)), move.seen(points))


# -- camera ---------------------------------------------------------------------------------------


def test_each_move_has_scenes_that_show_it():
    pairs = camera.scenes_of(20)
    assert [move for move, _ in pairs] == [*camera.MOVES] * 2
    assert all(is_near_middle(s) and s.shape not in ("circle", "ring") for _, s in pairs)
    assert len({(s.x, s.y) for _, s in pairs}) == 20
    assert camera.scenes_of(5)[0][1] not in [scene for _, scene in camera.scenes_of(5, first=900)]


@pytest.mark.parametrize(
    ("move", "shift", "turn"),
    [
        ("pan_right", -0.2 * SIZE, 1),
        ("pan_down", -0.2j * SIZE, 1),
        ("zoom_in", 0, 2**0.4),
        ("roll_right", 0, np.exp(-1j * np.pi / 6)),
        ("orbit_right", -0.2 * SIZE, 1),
    ],
)
def test_what_is_asked_of_the_last_frame(move: str, shift: complex, turn: complex):
    last = camera.asked_moves(move)[-1]
    assert last.shift == pytest.approx(shift, abs=1e-4)
    assert last.turn == pytest.approx(turn, abs=1e-4)


@pytest.mark.parametrize(("far", "share", "apart"), [(1.0, 1, 0), (0.8, 0.8, 0.2), (0.0, 0, 1)])
def test_the_flow_found_as_a_share_of_the_one_asked(far: float, share: float, apart: float):
    picture = np.random.default_rng(1).random((SIZE, SIZE, 3))
    asked = camera.asked_moves("pan_left")
    found = [Move(move.shift * far) for move in asked]
    assert camera.compare(found, asked, picture) == pytest.approx((share, apart))


# -- drag -----------------------------------------------------------------------------------------


def test_paths_contradict_the_words_and_stay_in_the_picture():
    for scene in held_out(50):
        dx, dy = drag.contradicting(scene)
        assert np.hypot(dx, dy) > 8
        wanted = DIRECTIONS.get(scene.motion)
        assert wanted is None or dx * wanted[0] + dy * wanted[1] <= 0
        ends = drag.path_of(scene)[-1, :2]
        assert bool(((ends >= 10) & (ends <= SIZE - 10)).all())


def test_a_clip_that_obeys_its_words_is_off_the_path():
    scene = next(s for s in held_out(30) if s.motion in DIRECTIONS and is_near_middle(s))
    away, ground = drag.distances(scene, render_clip(scene).transpose(0, 2, 3, 1))
    assert away[0] == pytest.approx(0, abs=0.1)
    assert away[-1] > 12
    assert ground < 0.01


# -- hold -----------------------------------------------------------------------------------------


def test_held_places_are_measured_by_distance():
    """A video with an error that grows inside and is small far away."""
    rng = np.random.default_rng(2)
    picture = rng.random((SIZE, SIZE, 3)) * 0.5
    way = torch.zeros(SIZE, SIZE)
    way[:, :16] = 1
    video = np.repeat(picture[None], NUM_FRAMES, axis=0)
    video[:, :, :16] = 0.9
    video[3, :, 16:] += 0.1  # one frame, 20 dB
    found = hold.measure(video, np.repeat(picture[None], 2, axis=0), picture, picture, way)
    assert found["laid over"] == 0
    assert found["video"] == pytest.approx(20)
    assert found["vae"] == pytest.approx(100)
    assert found["lost"] == pytest.approx(80)
    every = 20 + 10 * np.log10(NUM_FRAMES)
    assert found["0 to 4 px: video"] == pytest.approx(every)
    assert found["24 to 64 px: video to still"] == pytest.approx(every)


def test_where_the_object_goes_may_move():
    for scene in held_out(10):
        way = hold.way_of(scene)
        clip = render_clip(scene)
        changes = np.abs(clip - clip[:1]).max(axis=(0, 1)) > 1e-6
        assert bool((grown(way, -2)[torch.from_numpy(changes)] == 1).all())


# -- dial -----------------------------------------------------------------------------------------


def prompt() -> dict[str, Any]:
    kinds = {
        "1": ("DynamiCrafterCheckpointLoader", {}),
        "2": ("DynamiCrafterVisualDetailGuidance", {"fps": 8}),
        "3": ("DynamiCrafterSampler", {"model": ["1", 0], "seed": 5, "start_timestep": 1000}),
    }
    return {key: {"class_type": kind, "inputs": given} for key, (kind, given) in kinds.items()}


def test_the_dial_sets_model_speed_and_start():
    changed = prompt()
    dial.turn(changed, "lambda", -0.5)
    assert changed["dial"]["inputs"] == {"model": ["1", 0], "motion": -0.5, "means": "lambda"}
    assert changed["2"]["inputs"]["fps"] == ["dial", 1]
    sampler = changed["3"]["inputs"]
    assert sampler["model"] == ["dial", 0]
    assert sampler["start_timestep"] == changed["init"]["inputs"]["start_timestep"] == ["dial", 2]
    assert sampler["noise"] == ["init", 0]
    assert changed["init"]["inputs"]["seed"] == 5


def test_the_dial_is_tried_on_objects_that_go_somewhere():
    jobs = dial.jobs_of(5)
    assert len(jobs) == 5
    assert all(job.scene.motion in DIRECTIONS and is_near_middle(job.scene) for job in jobs)
    assert next(iter(dial.positions())) == ("all", 0.0)


def stays_inside(scene: Scene) -> bool:
    ends = np.array([scene.x, scene.y]) + scene.displacement
    return bool((np.abs(ends - SIZE / 2) + scene.radius < SIZE / 2 - 1).all())


def test_distances_are_shares_of_that_at_0():
    scene = next(job.scene for job in dial.jobs_of(20) if stays_inside(job.scene))
    clip = render_clip(scene).transpose(0, 2, 3, 1)
    slow = clip[np.arange(NUM_FRAMES) // 2]
    found = dial.compare({dial.PLAIN: clip, ("speed", -1.0): slow}, clip[0])
    # From the first two frames to the last two.
    far = float(np.hypot(*scene.displacement)) * 14 / 15
    assert found["at 0, px"] == pytest.approx(far, rel=0.02)
    assert found["speed -1.0"] == pytest.approx(0.5, abs=0.03)
    assert found["speed -1.0, changed"] > 1


def test_the_chart_has_a_line_for_each_means():
    pytest.importorskip("matplotlib", reason="the evaluation extra is not installed")
    from research.small_world.directed.chart import chart

    found = {
        f"{means} {motion:+.1f}": [1 + motion / 2, 1 + motion / 2 + 0.1, np.nan]
        for means, motion in dial.positions()
    }
    axes = chart(found).axes[0]
    assert axes.get_legend_handles_labels()[1] == [*dial.POSITIONS]
    heights = axes.containers[0][0].get_ydata()
    np.testing.assert_allclose(heights, [0.55, 0.8, 1, 1.3, 1.55])  # of speed


# -- the command ----------------------------------------------------------------------------------


def test_shares_have_wilson_s_interval_and_means_student_s():
    found = report({"within 15 %": [1.0, 1, 1, 0], "share": [1.0, 2.0, np.nan]})
    assert found.splitlines() == [
        "within 15 %: 0.750 (0.301 to 0.954, n = 4)",
        "share: 1.500 (-4.853 to 7.853, n = 2)",
    ]


def test_only_the_dial_goes_without_a_tokenizer(capsys: pytest.CaptureFixture[str]):
    assert parse(["dial"]).tokenizer is None
    assert parse(["drag", "--tokenizer", "clip"]).tokenizer == Path("clip")
    with pytest.raises(SystemExit):
        parse(["camera"])
    assert "camera needs --tokenizer" in capsys.readouterr().err
