"""Across sampling and the schedules: text with a row per frame or per video."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, Scene, TextScene, WideScene, storyboard
from studio import Studio, picture, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
TOLERANCE = 1e-4
CALM, STORM = "a calm sea", "a storm at night"


def rows_of(graph: Graph, clip: Link, rows: str) -> Link:
    """CONDITIONING with a row per letter: `a` calm, `b` storm."""
    a, b = (graph.add("CLIPTextEncode", clip=clip, text=text)[0] for text in (CALM, STORM))
    return graph.add("TestTextRows", a=a, b=b, rows=rows)[0]


def scheduled(graph: Graph, clip: Link, switch: int) -> Link:
    return graph.add(
        "DynamiCrafterPromptSchedule",
        clip=clip,
        prompts=f"0: {CALM}\n{switch}: {STORM}",
        length=FRAMES,
        blend_frames=0,
    )[0]


def animated(scene: Scene, text: Link, images: torch.Tensor, *, control: bool = False) -> Link:
    """A video for each of `images`, of this text."""
    studio, graph = scene.studio, scene.graph
    image = studio.image(graph, images)
    scene.text("")
    scene.positive = text
    scene.context(image).detail(image, SIZE, SIZE, FRAMES)
    if control:
        scene.positive = controlled(scene)
    shape = (images.shape[0] * FRAMES, 4, SIZE // 8, SIZE // 8)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return scene.sample(steps=2, noise=studio.noise(graph, noise))


def controlled(scene: Scene) -> Link:
    return scene.graph.add(
        "ControlNetApplyAdvanced",
        positive=scene.positive,
        negative=scene.positive,
        control_net=scene.graph.add("TestControlNet")[0],
        image=scene.picture,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )[0]


def pictures(videos: int) -> torch.Tensor:
    return torch.cat([picture(SIZE, SIZE, float(i)) for i in range(videos)])


def test_a_row_per_frame_equals_the_prompt_schedule(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    one, two = pictures(1), pictures(2)
    travel = rows_of(graph, scene.clip, "abbb")
    found = studio.run(
        graph,
        rows=animated(scene, travel, one),
        schedule=animated(scene, scheduled(graph, scene.clip, 1), one),
        first=animated(scene, rows_of(graph, scene.clip, "a"), one),
        repeated=animated(scene, travel, two),
        all_frames=animated(scene, rows_of(graph, scene.clip, "abbbabbb"), two),
        schedules=animated(scene, scheduled(graph, scene.clip, 1), two),
    )
    assert relative_error(found["rows"][SAMPLES], found["schedule"][SAMPLES]) < TOLERANCE
    assert relative_error(found["rows"][SAMPLES], found["first"][SAMPLES]) > 1e-3
    for name in ("repeated", "all_frames"):
        assert relative_error(found[name][SAMPLES], found["schedules"][SAMPLES]) < TOLERANCE, name


@pytest.mark.parametrize("control", [False, True])
def test_a_row_per_video_is_that_videos_text(studio: Studio, graph: Graph, control: bool) -> None:
    """With a ControlNet, too, which the host gives a row for each frame of the batch."""
    scene = (WideScene if control else Scene)(studio, graph)
    two = pictures(2)
    found = studio.run(
        graph,
        videos=animated(scene, rows_of(graph, scene.clip, "ab"), two, control=control),
        frames=animated(scene, rows_of(graph, scene.clip, "aaaabbbb"), two, control=control),
        first=animated(scene, rows_of(graph, scene.clip, "a"), two, control=control),
    )
    assert relative_error(found["videos"][SAMPLES], found["frames"][SAMPLES]) < TOLERANCE
    assert relative_error(found["videos"][SAMPLES], found["first"][SAMPLES]) > 1e-3


@pytest.mark.parametrize(("rows", "videos"), [(2, 1), (FRAMES + 1, 1), (3, 2), (2 * FRAMES, 3)])
def test_other_counts_are_explained(studio: Studio, graph: Graph, rows: int, videos: int) -> None:
    scene = Scene(studio, graph)
    link = animated(scene, rows_of(graph, scene.clip, "a" * rows), pictures(videos))
    message = studio.error(graph, link)
    assert f"{rows} rows of text, but {videos} x {FRAMES} frames are sampled" in message


def test_a_row_per_frame_of_a_text_to_video_model(studio: Studio, graph: Graph) -> None:
    def sample(text: Any) -> Link:
        scene = TextScene(studio, graph, "videocrafter2")
        scene.positive = text(scene)
        scene.detail()
        return scene.sample(steps=2, noise=scene.unit_noise())

    found = studio.run(
        graph,
        rows=sample(lambda s: rows_of(graph, s.clip, "aabb")),
        schedule=sample(lambda s: scheduled(graph, s.clip, 2)),
        first=sample(lambda s: rows_of(graph, s.clip, "a")),
    )
    assert relative_error(found["rows"][SAMPLES], found["schedule"][SAMPLES]) < TOLERANCE
    assert relative_error(found["rows"][SAMPLES], found["first"][SAMPLES]) > 1e-3


def test_a_row_per_frame_of_an_extended_video(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    video = studio.image(graph, pictures(FRAMES))

    def sample(text: Link) -> Link:
        scene.text("")
        scene.positive = text
        scene.context(scene.picture)
        scene.extend(video, FRAMES, 1)
        return scene.sample(steps=2, noise=scene.unit_noise())

    found = studio.run(
        graph,
        rows=sample(rows_of(graph, scene.clip, "aabb")),
        schedule=sample(scheduled(graph, scene.clip, 2)),
    )
    assert relative_error(found["rows"][SAMPLES], found["schedule"][SAMPLES]) < TOLERANCE


def test_a_numbered_prompt_of_a_shot_is_a_schedule(studio: Studio, graph: Graph) -> None:
    """Its default cross-fade is the Prompt Schedule's."""
    scene = Scene(studio, graph)
    settings: dict[str, Any] = {"overlap": 1, "steps": 1, "cfg": 3.0, "eta": 0.0}

    def film(prompt: str) -> Link:
        shot = graph.add(
            "DynamiCrafterShot", prompt=prompt, length=FRAMES, fps=0, image=scene.picture
        )[0]
        return storyboard(scene, shot, **settings)[0]

    prompts = f"0: {CALM}\n2: {STORM}"
    text = scene.schedule(prompts, FRAMES, blend_frames=4)
    scene.text("")
    scene.positive = text
    scene.context(scene.picture).detail(scene.picture, SIZE, SIZE, FRAMES)
    latent = scene.sample(steps=1, cfg=3.0, eta=0.0, seed=5)
    found = studio.run(
        graph,
        story=film(prompts),
        words=film(CALM),
        schedule=graph.add("VAEDecode", samples=latent, vae=scene.vae)[0],
    )
    assert relative_error(found["story"]["value"], found["schedule"]["value"]) < TOLERANCE
    assert relative_error(found["story"]["value"], found["words"]["value"]) > 1e-4
