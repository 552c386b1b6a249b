"""The judge of demo checkpoints: it must be right on true clips before it may judge others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comfyui.setup import Host, find_host

from research.small_world.judge import report
from research.small_world.judge.__main__ import judge, parse
from research.small_world.judge.ceiling import load_vae, reconstructed, true_clip
from research.small_world.judge.counts import Counts
from research.small_world.judge.figures import figures, mean, share
from research.small_world.judge.long_videos import lengthen, long_videos
from research.small_world.judge.measures import measure, psnr
from research.small_world.judge.pairs import (
    LONG,
    Job,
    ends,
    held_out,
    is_near_middle,
    picture,
    prompted,
    reversed_prompts,
)
from research.small_world.judge.server import load_clip, save_frames
from research.small_world.judge.shapes import WEIGHTS, load_classifier, shapes_of, visible_share
from research.small_world.judge.tracker import change, follow, ground_of, motion_of
from research.small_world.world.render import background, render_clip
from research.small_world.world.scenes import is_held_out, make_scene

CHECKPOINT = Path(__file__).resolve().parents[3] / "assets" / "demo"


@pytest.fixture(scope="module")
def classifier():
    return load_classifier()


def record(job: Job, video: np.ndarray, classifier, alone: np.ndarray | None = None):
    pictures = np.stack(job.pictures) / 255
    return measure(job, video, pictures if alone is None else alone, classifier)


# -- pairs ----------------------------------------------------------------------------------------


def test_pairs_are_held_out_and_always_the_same():
    jobs = list(Counts(20, 5, 3, 2).jobs())
    assert [j.name for j in jobs] == [j.name for j in Counts(20, 5, 3, 2).jobs()]
    assert len({j.name for j in jobs}) == len(jobs) == 20 + 5 + 3 + 3 + 2 + 2
    assert all(is_held_out(j.scene.shape, j.scene.colour, j.scene.motion) for j in jobs[:20])
    assert (
        prompted(4) == prompted(20)[:4] and reversed_prompts(2, 20) == reversed_prompts(5, 20)[:2]
    )


def test_reversed_prompts_have_the_same_picture_noise_and_other_words():
    by_name = {j.name: j for j in prompted(20)}
    for job in reversed_prompts(5, 20):
        twin = by_name[job.name.replace("reversed", "prompted")]
        assert np.array_equal(job.pictures[0], twin.pictures[0]) and job.seed == twin.seed
        assert job.scene.motion != twin.scene.motion and job.scene.caption != twin.scene.caption
        assert is_near_middle(twin.scene)


def test_interpolation_has_both_ends_of_a_clip():
    (job,) = ends("interpolate", 1)
    clip = np.round(true_clip(job) * 255)
    first, last = job.pictures
    assert np.array_equal(first, clip[0]) and np.array_equal(last, clip[-1])
    assert not np.array_equal(first, last)


# -- tracker --------------------------------------------------------------------------------------


def test_the_tracker_is_right_on_every_true_clip():
    jobs = prompted(40) + reversed_prompts(20, 100)
    clips = [true_clip(job) for job in jobs]
    seen = [motion_of(follow(clip, clip[0])) for clip in clips]
    assert seen == [job.scene.motion for job in jobs]


def test_the_ground_is_found_under_the_object():
    for scene in held_out(12):
        true = background(scene).transpose(1, 2, 0)
        assert np.abs(ground_of(picture(scene, 0) / 255) - true).max() < 0.01


def test_the_tracker_measures_pixels_and_colour():
    scene = next(s for s in held_out(99) if s.motion == "right" and visible_share(s, 1.0) > 0.99)
    clip = true_clip(Job("a", "animate_image", scene, 0))
    trail = follow(clip, clip[0])
    assert change(trail)[0] == pytest.approx(scene.displacement[0] * 14 / 15, abs=1.0)
    assert change(trail)[1:] == pytest.approx((0, 0), abs=0.5)
    assert motion_of(follow(clip[::-1], clip[0])) == "left"
    assert motion_of(follow(clip[:1].repeat(16, axis=0), clip[0])) == "none"


def test_a_lost_object_is_no_motion():
    scene = held_out(1)[0]
    empty = background(scene).transpose(1, 2, 0)[None].repeat(16, axis=0)
    trail = follow(empty, picture(scene, 0) / 255)
    assert motion_of(trail) == "none" and trail.area.sum() == 0 and np.isnan(trail.colour).all()


# -- shapes ----------------------------------------------------------------------------------------


def test_kinds_are_recognised_on_true_frames(classifier):
    assert WEIGHTS.stat().st_size < 200_000
    scenes = [s for i in range(80) if visible_share(s := make_scene(909, i, "held_out"), 0.5) > 0.6]
    frames = np.stack([render_clip(s, 3)[1].transpose(1, 2, 0) for s in scenes])
    right = [a == s.shape for a, s in zip(shapes_of(classifier, frames), scenes, strict=True)]
    assert np.mean(right) >= 0.98


def test_visible_share_of_an_object():
    scene = replace(held_out(1)[0], shape="square", motion="grow", x=32.0, y=32.0, radius=10.0)
    assert visible_share(scene, 0.0) == pytest.approx(1)
    assert visible_share(replace(scene, x=0.0), 0.0) == pytest.approx(0.5, abs=0.01)


# -- measures -------------------------------------------------------------------------------------


def test_a_true_clip_has_nothing_to_blame(classifier):
    job = prompted(1)[0]
    found = record(job, true_clip(job), classifier)
    assert found["seen"] == found["prompted"] == job.scene.motion
    assert set(found["colours"]) == {job.scene.colour}
    assert found["drift"] < 0.005
    assert found["ground"] < 0.005 and found["stray"] == 0
    assert found["shapes"]["first"] == job.scene.shape
    assert found["first"]["psnr"] == 100 and found["first"]["vae"] == 100
    assert found["outline"] > 0.95
    json.dumps(found)


def test_faults_are_found(classifier):
    scene = replace(held_out(1)[0], shape="circle", colour="red", motion="left", x=44.0, y=32.0)
    job = Job("prompted-000", "animate_image", scene, 0)
    blue = true_clip(replace(job, scene=replace(scene, colour="blue", shape="square")))
    clip = np.concatenate([true_clip(job)[:12], blue[12:]])
    found = record(job, clip, classifier)
    assert found["colours"] == ["red"] * 12 + ["blue"] * 4
    assert found["drift"] > 0.3
    assert found["shapes"] == {"first": "circle", "middle": "circle", "last": "square"}
    twice = clip.copy()
    twice[9, 4:14, 50:60] = (0.1, 0.7, 0.15)
    assert record(job, twice, classifier)["stray"] == pytest.approx(
        100 / (np.pi * scene.radius**2), rel=0.1
    )
    right = record(job, clip[::-1], classifier)
    assert (right["prompted"], right["seen"]) == ("left", "right")
    assert right["first"]["psnr"] < 25 < right["first"]["vae"]
    assert right["first"]["box_psnr"] < right["first"]["psnr"]


def test_an_outline_is_that_of_the_shape_wherever_it_is(classifier):
    scene = replace(held_out(1)[0], shape="cross", motion="grow", x=32.0, y=32.0, radius=10.0)
    job = Job("prompted-000", "animate_image", scene, 0)
    assert record(job, true_clip(job), classifier)["outline"] > 0.95
    for other, at_most in (("square", 0.8), ("circle", 0.75)):
        clip = true_clip(replace(job, scene=replace(scene, shape=other)))
        assert record(job, clip, classifier)["outline"] < at_most


def test_psnr_by_value():
    assert psnr(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20)
    assert psnr(np.zeros(4), np.zeros(4)) == 100


def test_loops_close_or_jump(classifier):
    job = replace(ends("loop", 1)[0], scene=next(s for s in held_out(50) if s.motion == "left"))
    there_and_back = true_clip(job)
    assert len(there_and_back) == 15
    found = record(job, there_and_back, classifier)
    assert found["closing_step"] / found["median_step"] == pytest.approx(1, abs=0.25)
    assert found["reach"] > 10
    jump = record(job, true_clip(replace(job, workflow="animate_image"))[:15], classifier)
    assert jump["closing_step"] / jump["median_step"] > 2


def test_long_videos_have_room_and_their_colour_and_shape_are_asked_to_the_end(classifier):
    extended, story = (long_videos(workflow, 3) for workflow in LONG)
    assert [j.scene for j in extended] == [j.scene for j in story]
    job = extended[2]
    clip = true_clip(job)
    assert len(clip) == 40
    # After 16 frames at the end of its way, after 28 near its beginning, then there again.
    assert np.array_equal(clip[15], true_clip(replace(job, workflow="animate_image"))[15])
    assert np.array_equal(clip[27], clip[3]) and np.array_equal(clip[39], clip[15])
    found = record(job, clip, classifier)
    assert set(found["colours"]) == {job.scene.colour} and len(found["colours"]) == 40
    assert found["drift"] < 0.005 and found["lasts"] == [job.scene.shape] * 3
    other = replace(job.scene, shape="ring" if job.scene.shape != "ring" else "cross")
    clip[30:] = true_clip(replace(job, scene=other))[30:] * 0.8
    found = record(job, clip, classifier)
    assert found["drift"] > 0.05 and found["lasts"] == [*[job.scene.shape] * 2, other.shape]
    assert [f.reached for f in figures([found]) if f.goal] == [False, False]


# -- figures --------------------------------------------------------------------------------------


def test_intervals_by_value():
    found = share("a", [True] * 95 + [False] * 5, goal=0.9)
    assert found is not None
    # Wilson (1927) for 95 of 100, as tables have it.
    assert (found.low, found.high) == pytest.approx((0.8882, 0.9785), abs=1e-4)
    assert found.reached and share("a", []) is None
    part = mean("c", [1.0, 0.9], "%")
    assert part is not None and (part.low, part.high) == (pytest.approx(0.3147, abs=1e-4), 1.0)
    loss = mean("b", [1.0, 2.0, 3.0], "dB", goal=1.5, at_most=True)
    assert loss is not None and loss.reached is False
    # t(0.975, 2) / sqrt(3) = 2.4841
    assert (loss.low, loss.high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)


def test_figures_count_what_was_measured(classifier):
    jobs = [*prompted(6), *reversed_prompts(1, 6), *ends("interpolate", 1)]
    clips = [true_clip(job) for job in jobs]
    clips[0] = clips[0][::-1]
    records = [record(j, c, classifier) for j, c in zip(jobs, clips, strict=True)]
    found = {figure.name: figure for figure in figures(records)}
    assert found["moves as prompted"].value == pytest.approx(5 / 6)
    assert found["moves as prompted"].count == 6 and found["moves as prompted"].reached is False
    assert found["opposite word reverses the motion"].value == 1
    assert found["colour kept on every frame of the clip"].value == 1
    assert found["interpolation, last image, below the VAE alone"].value == 0
    assert not [name for name in found if name.startswith("loop")]


def results() -> dict:
    figure = share("moves as prompted", [True] * 9 + [False], 0.95)
    assert figure is not None
    return {
        "checkpoint": "a.safetensors",
        "sha256": "0" * 64,
        "comfyui": "0.30.0",
        "settings": {"width": 64, "height": 64, "steps": 25, "cfg": 2.0},
        "counts": {"prompted": 10, "reversed": 3, "ends": 1, "long": 0},
        "ceiling_clips": 5,
        "figures": [figure.to_json()],
        "ceilings": {"true": [figure.to_json()], "vae": []},
    }


def test_the_report_fills_its_place_in_a_page(tmp_path: Path):
    row = (
        "| moves as prompted | 90.0 % | 59.6 % to 98.2 % | 10 | ≥ 95 % (not reached) | 90.0 % |  |"
    )
    text = report.table(results())
    assert row in text.splitlines() and "cfg 2," in text
    page = tmp_path / "page.md"
    page.write_text(f"Before\n{report.BEGIN}\nold\n{report.END}\nAfter\n")
    report.write(page, text)
    report.write(page, text)
    expected = f"Before\n{report.BEGIN}\n{text}\n{report.END}\nAfter\n"
    assert page.read_text(encoding="utf-8") == expected
    report.write(tmp_path / "new.md", "alone")
    assert (tmp_path / "new.md").read_text() == "alone\n"


# -- server ---------------------------------------------------------------------------------------


def test_the_videos_frames_are_saved_without_loss():
    def node(kind: str, **inputs):
        return {"class_type": kind, "inputs": inputs}

    prompt = {
        "1": node("DynamiCrafterCheckpointLoader"),
        "3": node("LoadImage", image="b-0.png"),
        "4": node("LoadImage", image="b-1.png"),
        "10": node("DynamiCrafterVideoDecode"),
        "11": node("CreateVideo", images=["10", 0]),
        "12": node("SaveVideo", video=["11", 0]),
    }
    save_frames(prompt)
    kinds = {node["class_type"] for node in prompt.values()}
    assert not kinds & {"CreateVideo", "SaveVideo"}
    assert prompt["frames"]["inputs"]["images"] == ["10", 0]
    assert prompt["both"]["inputs"] == {"image1": ["3", 0], "image2": ["4", 0]}
    assert prompt["encoded"]["inputs"] == {"pixels": ["both", 0], "vae": ["1", 2]}


def links_of(title: str) -> dict[str, dict]:
    """A shipped workflow's nodes with their links alone, as prompts have them."""
    path = CHECKPOINT.parents[1] / "workflows" / f"DynamiCrafter - {title}.json"
    page = json.loads(path.read_text(encoding="utf-8"))
    source = {link[0]: [str(link[1]), link[2]] for link in page["links"]}
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": {i["name"]: source[i["link"]] for i in node.get("inputs", []) if i["link"]},
        }
        for node in page["nodes"]
        if node["type"] != "MarkdownNote"
    }


@pytest.mark.parametrize("workflow", LONG)
def test_a_long_video_is_three_clips_of_one_picture(workflow):
    prompt = links_of("Extend a video" if workflow == "extend" else "Storytelling")
    before = set(prompt)
    lengthen(prompt, workflow)
    (video,) = (node for node in prompt.values() if node["class_type"] == "CreateVideo")
    assert [n["class_type"] for n in prompt.values()].count("LoadImage") == 1
    if workflow == "storytelling":
        board = prompt[video["inputs"]["images"][0]]
        assert board["inputs"]["shots"] == ["7", 0] and "image" not in prompt["7"]["inputs"]
    else:
        assert {str(1000 + int(key)) for key in (8, 12, 13, 14, 15, 16, 17)} == set(prompt) - before
        joined = prompt[video["inputs"]["images"][0]]["inputs"]
        assert joined == {"images.image0": ["14", 4], "images.image1": ["1017", 0]}
        again = prompt["1014"]["inputs"]
        assert (again["images"], again["samples"]) == (["16", 0], ["15", 0])
        assert prompt["1012"]["inputs"]["image"] == ["16", 1]


def test_a_command_line():
    options = parse(["--checkpoint", "a", "--output", "b"])
    assert (options.clips, options.steps, options.flips) == (200, 25, None)


@pytest.mark.server
def test_judges_through_the_server_and_goes_on(tmp_path: Path, comfyui: Path):
    host = find_host(comfyui)
    weights = CHECKPOINT / "small_world.safetensors"
    counts = Counts(prompted=1, reversed=0, ends=1, long=1)
    found = judge(weights, tmp_path, counts, host, steps=1, ceiling_clips=1)
    assert [r["name"] for r in found["clips"]] == [
        *("prompted-000", "interpolate-000", "loop-000", "extend-000", "storytelling-000")
    ]
    assert json.loads((tmp_path / "results.json").read_text())["figures"] == found["figures"]
    jobs = list(counts.jobs())
    lengths = [load_clip(tmp_path, job)[0].shape for job in jobs]
    assert lengths == [(count, 64, 64, 3) for count in (16, 16, 15, 40, 40)]
    alone = load_clip(tmp_path, jobs[1])[1]
    direct = reconstructed(load_vae(weights), np.stack(jobs[1].pictures) / 255)
    assert np.abs(alone - direct).max() < 3 / 255
    # All is there: no server is needed, and the figures are the same.
    nowhere = Host(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="holds videos of comfyui"):
        judge(weights, tmp_path, counts, nowhere, steps=1, ceiling_clips=1)
    with pytest.raises(ValueError, match="holds videos of settings"):
        judge(weights, tmp_path, counts, host, steps=2, ceiling_clips=1)
    again = judge(weights, tmp_path, counts, host, steps=1, ceiling_clips=1)
    assert again == found
