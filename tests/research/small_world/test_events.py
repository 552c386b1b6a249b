"""The second tier by value: positions, angles, sizes and opacity, without any tracker."""

import hashlib

import numpy as np
import pytest

from research.small_world.world.dataset import SmallWorld
from research.small_world.world.events import (
    EVENTS,
    Actor,
    Camera,
    EventScene,
    is_held_out,
    make_event,
)
from research.small_world.world.render import render_clip
from research.small_world.world.render_events import render_event, render_event_frame
from research.small_world.world.scenes import COLOURS, KINDS, make_scene
from research.small_world.world.vocabulary import END, START, known_tokens, tokenize
from training.config import DataConfig
from training.data.sources import open_source

GREY = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def actor(**changes) -> Actor:
    values = {"kind": "square", "colour": "red", "x": 30.0, "y": 34.0, "radius": 10.0, **changes}
    return Actor(**values)


def scene(*actors: Actor, camera: Camera | None = None) -> EventScene:
    return EventScene(
        event="spin",
        actors=actors,
        camera=camera or Camera(),
        background=GREY,
        angle=0.0,
        fps=8,
        caption="",
        motion_caption="",
    )


def seen(frame: np.ndarray, colour: str = "red") -> np.ndarray:
    """How far each pixel is on the way from grey to the colour, `[H, W]`."""
    way = (np.asarray(COLOURS[colour]) - 0.5)[:, None, None]
    return ((frame - 0.5) * way).sum(axis=0) / (way**2).sum()


def centre(mask: np.ndarray) -> tuple[float, float]:
    axis = np.arange(mask.shape[0]) + 0.5
    return float((mask.sum(0) * axis).sum() / mask.sum()), float(
        (mask.sum(1) * axis).sum() / mask.sum()
    )


def test_the_first_tier_is_what_it_was():
    # The demo model was trained on exactly these pixels and words.
    hashed = hashlib.sha256()
    for seed in (0, 5):
        for split in ("train", "held_out", "all"):
            for i in range(6):
                made = make_scene(seed, i, split)
                hashed.update(render_clip(made).tobytes())
                hashed.update(made.caption.encode())
                hashed.update(repr((made.x, made.y, made.radius)).encode())
    assert hashed.hexdigest() == "d9d46fa73fa43557d30a07c1d401a5dd3885e6c405fd161e1cb485654c795328"
    assert len(known_tokens()) == 45


def test_circle_keeps_its_distance_and_turns_clockwise_by_its_angle():
    path = actor(path="circle", amount=np.pi / 2, shift=(-12.0, 0.0))
    # The centre is (18, 34); a quarter clockwise on the screen leads below it.
    assert path.pose(0.0)[:2] == pytest.approx((30, 34))
    assert path.pose(1.0)[:2] == pytest.approx((18, 46))
    middle = path.pose(0.37)
    assert np.hypot(middle.x - 18, middle.y - 34) == pytest.approx(12)
    assert centre(seen(render_event_frame(scene(path), 1.0))) == pytest.approx((18, 46), abs=0.02)


def test_spin_turns_the_shape_in_place():
    spun = scene(actor(path="spin", amount=np.pi / 4))
    first, last = (seen(render_event_frame(spun, t)) for t in (0.0, 1.0))
    assert centre(last) == pytest.approx(centre(first), abs=0.02)
    assert last.sum() == pytest.approx(first.sum(), rel=0.01)
    # A square of half width 8.8: at 45 degrees its corner reaches 8.8 * sqrt(2) = 12.4 to the side.
    row = 34
    assert first[row, 30 : 30 + 8].min() > 0.99 and first[row, 30 + 10 :].max() < 0.01
    assert last[row, 30 : 30 + 11].min() > 0.9 and last[row, 30 + 14 :].max() < 0.01


def test_the_direction_of_a_turn_shows():
    tilted = scene(actor(kind="triangle", path="spin", amount=np.pi / 2))
    # The tip points up; a quarter turn clockwise points it to the right.
    assert tilted.actors[0].pose(1.0).angle == pytest.approx(np.pi / 2)
    tip = seen(render_event_frame(tilted, 1.0))
    assert tip[34, 38] > 0.7 and tip[34, 21] < 0.01
    before = seen(render_event_frame(tilted, 0.0))
    assert before[26, 30] > 0.7 and before[42, 30] < 0.01


def test_fade_is_linear_in_opacity():
    fading = scene(actor(path="fade", amount=0.2, faint=1.0))
    inside = [seen(frame)[34, 30] for frame in render_event(fading, 5)]
    assert inside == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2], abs=1e-5)


def test_bounce_comes_down_to_where_it_began():
    jumping = actor(path="bounce", amount=2.0, shift=(0.0, -20.0))
    heights = [34 - jumping.pose(t).y for t in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)]
    assert heights == pytest.approx([0, 20 * np.sin(np.pi / 4), 20, 0, 20, 0], abs=1e-9)
    assert jumping.pose(0.4).x == 30


def test_camera_pan_moves_the_picture_the_other_way():
    panned = scene(actor(), camera=Camera(pan=(12.0, -6.0)))
    assert centre(seen(render_event_frame(panned, 0.5))) == pytest.approx((24, 37), abs=0.02)


def test_camera_zoom_scales_about_the_middle():
    zoomed = scene(actor(), camera=Camera(zoom=1.5))
    first, last = (seen(render_event_frame(zoomed, t)) for t in (0.0, 1.0))
    assert centre(last) == pytest.approx((32 - 2 * 1.5, 32 + 2 * 1.5), abs=0.03)
    assert last.sum() / first.sum() == pytest.approx(1.5**2, rel=0.01)


def test_later_actors_hide_earlier_ones():
    ball = actor(kind="circle", colour="green", radius=6.0, x=10.0, path="line", shift=(40.0, 0.0))
    wall = actor(colour="blue", x=30.0, radius=14.0)
    frames = render_event(scene(ball, wall), 3)
    assert seen(frames[0], "green")[34, 10] == pytest.approx(1)
    behind = frames[1][:, 34, 30]
    assert behind == pytest.approx(COLOURS["blue"], abs=1e-6)
    assert frames[1][:, 20:50, :14].std() < 1e-6


def test_larger_pictures_show_the_same():
    turning = scene(actor(path="spin", amount=1.0), camera=Camera(zoom=1.2, pan=(5.0, 0.0)))
    small, large = (seen(render_event_frame(turning, 0.7, size)) for size in (64, 128))
    assert np.array(centre(large)) / 2 == pytest.approx(centre(small), abs=0.05)
    assert large.sum() / 4 == pytest.approx(small.sum(), rel=0.01)


def test_events_are_functions_of_their_number_and_stay_in_view():
    events = [make_event(1, i, "all") for i in range(240)]
    assert events[7] == make_event(1, 7, "all") != make_event(2, 7, "all")
    assert {e.event for e in events} == set(EVENTS)
    for event in events:
        clip = render_event(event, 4)
        assert clip.shape == (4, 3, 64, 64) and clip.min() >= 0 and clip.max() <= 1
        assert np.abs(clip[0] - clip).max() > 0.1
        # Objects may leave a moving camera's view, not a still one's.
        if event.camera == Camera():
            poses = [a.pose(t) for a in event.actors for t in np.linspace(0, 1, 9)]
            assert all(0 < p.x < 64 and 0 < p.y < 64 for p in poses)


def test_held_out_events_never_train():
    for split, held in (("train", False), ("held_out", True)):
        for i in range(150):
            event = make_event(0, i, split)  # type: ignore[arg-type]
            main = event.actors[0]
            assert is_held_out(main.kind, main.colour, event.event) == held
    share = np.mean([is_held_out(k, c, e) for k in KINDS for c in COLOURS for e in EVENTS])
    assert share == pytest.approx(1 / 7, abs=0.02)


def test_captions_name_all_objects_and_fit_the_vocabulary():
    events = [make_event(0, i, "all") for i in range(400)]
    for event in events:
        assert all(a.name in event.caption for a in event.actors)
        assert not any(colour in event.motion_caption for colour in COLOURS)
    tokens = tokenize([e.caption for e in events])
    assert (tokens[:, 0] == START).all() and ((tokens == END).sum(dim=1) == 1).all()
    assert set(tokens.flatten().tolist()) <= set(known_tokens(second_tier=True))
    # CLIP's own: "the camera pans left over a red circle and a blue ring".
    ids = tokenize(["the camera pans left over a red circle and a blue ring"])[0, :14].tolist()
    assert ids == [START, 518, 3934, 35204, 1823, 962, 320, 736, 7117, 537, 320, 1746, 2540, END]


def test_captions_say_which_way():
    for i in range(200):
        event = make_event(3, i, "all")
        main = event.actors[0]
        if event.event in ("circle", "spin"):
            assert ("counterclockwise" in event.caption) == (main.amount < 0)
        elif event.event == "occlusion":
            assert ("right" in event.caption) == (main.shift[0] > 0)
        elif event.event == "zoom":
            assert event.motion_caption.endswith("in") == (event.camera.zoom > 1)
        elif event.event == "fade":
            assert (main.amount < main.faint) == any(
                word in event.caption for word in ("out", "disappears")
            )


def test_the_share_of_the_second_tier_is_configured():
    world = SmallWorld(400, 2, second_tier=0.25)
    events = [i for i in range(400) if world.load(i, 0).key.endswith("event")]
    assert len(events) == pytest.approx(100, abs=30)
    plain = SmallWorld(400, 2).load(events[0], 0)
    assert plain.caption == make_scene(2, events[0]).caption
    assert world.load(events[0], 0).caption == make_event(2, events[0]).caption
    config = DataConfig(kind="small_world", pool=3, num_frames=4, second_tier=1.0)
    clip = open_source(config, 2).load(1, 0)
    assert clip.caption == make_event(2, 1).caption and clip.frames.shape == (4, 3, 64, 64)
