"""Images at chosen frames, and a prompt per segment."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import SIZE, unit_noise
from studio import Animation, Studio, picture, relative_error

pytestmark = pytest.mark.server

TOLERANCE = 1e-4
SAMPLES = "value.samples"
CONCAT = "value.0.1.concat_latent_image"
LENGTH = 6


def still(studio: Studio, graph: Graph, prompt: str = "a cloud") -> tuple[Animation, Link]:
    """Prompts and image context of a small checkpoint; and the image."""
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    image = studio.image(graph, picture(SIZE, SIZE))
    return made.text(prompt).context(image), image


def chain(studio: Studio, graph: Graph, *frames: int) -> tuple[Link, list[Link]]:
    """DC_KEYFRAMES of pictures at these frames; and the pictures."""
    keyframes, images = None, []
    for i, frame in enumerate(frames):
        images.append(studio.image(graph, picture(SIZE, SIZE, phase=1.0 + i)))
        keyframes = graph.add(
            "DynamiCrafterKeyframe", image=images[-1], frame=frame, keyframes=keyframes
        )[0]
    assert keyframes is not None
    return keyframes, images


def encode(graph: Graph, made: Animation, image: Link) -> Link:
    return graph.add("VAEEncode", pixels=image, vae=made.vae)[0]


def test_keyframes_sit_at_their_frames_and_zeros_elsewhere(studio: Studio, graph: Graph) -> None:
    made, image = still(studio, graph)
    keyframes, images = chain(studio, graph, 2, -1)
    made.detail(image, SIZE, SIZE, LENGTH, mode="keyframes", keyframes=keyframes)
    outputs: dict[str, Any] = {"positive": made.positive, "negative": made.negative}
    for i, given in enumerate([image, *images]):
        outputs[f"image{i}"] = encode(graph, made, given)
    found = studio.run(graph, **outputs)
    for name in ("positive", "negative"):
        concat = found[name][CONCAT]
        assert concat.shape[0] == LENGTH
        for i, frame in enumerate((0, 2, 5)):
            expected = found[f"image{i}"][SAMPLES][0]
            torch.testing.assert_close(concat[frame], expected)
        assert not concat[[1, 3, 4]].any()


def test_a_keyframe_at_the_first_frame_replaces_the_image(studio: Studio, graph: Graph) -> None:
    made, image = still(studio, graph)
    keyframes, images = chain(studio, graph, -LENGTH)
    made.detail(image, SIZE, SIZE, LENGTH, mode="keyframes", keyframes=keyframes)
    outputs: dict[str, Any] = {"positive": made.positive, "first": encode(graph, made, images[0])}
    found = studio.run(graph, **outputs)
    concat = found["positive"][CONCAT]
    torch.testing.assert_close(concat[0], found["first"][SAMPLES][0])
    assert not concat[1:].any()


def test_keyframes_reach_the_network(studio: Studio, graph: Graph) -> None:
    results: dict[str, Any] = {}
    for name, frames in (("early", (2,)), ("late", (4,)), ("both", (2, 4))):
        made, image = still(studio, graph)
        keyframes, _ = chain(studio, graph, *frames)
        made.detail(image, SIZE, SIZE, LENGTH, mode="keyframes", keyframes=keyframes)
        noise = studio.noise(graph, unit_noise(1, frames=LENGTH))
        results[name] = made.sample(steps=2, noise=noise)
    found = studio.run(graph, **results)
    assert bool(found["both"][SAMPLES].isfinite().all())
    assert relative_error(found["early"][SAMPLES], found["late"][SAMPLES]) > 0.01
    assert relative_error(found["early"][SAMPLES], found["both"][SAMPLES]) > 0.01


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ((LENGTH,), "Keyframe 6 is outside the video"),
        ((3, -3), "Keyframes 3 and -3 are both frame 3"),
    ],
)
def test_wrong_frames_are_explained(
    studio: Studio, graph: Graph, frames: tuple[int, ...], message: str
) -> None:
    made, image = still(studio, graph)
    keyframes, _ = chain(studio, graph, *frames)
    made.detail(image, SIZE, SIZE, LENGTH, mode="keyframes", keyframes=keyframes)
    assert message in studio.error(graph, made.sample(steps=1))


def schedule(graph: Graph, made: Animation, prompts: str, **options: Any) -> Link:
    settings = {"length": LENGTH, "blend_frames": 0, **options}
    return graph.add("DynamiCrafterPromptSchedule", clip=made.clip, prompts=prompts, **settings)[0]


def text_of(graph: Graph, made: Animation, text: str) -> Link:
    return graph.add("CLIPTextEncode", clip=made.clip, text=text)[0]


def test_each_segment_has_its_prompts_embedding(studio: Studio, graph: Graph) -> None:
    made, _ = still(studio, graph)
    found = studio.run(
        graph,
        hard=schedule(graph, made, "0: sea\n4: storm"),
        soft=schedule(graph, made, "sea\nstorm", blend_frames=2),
        sea=text_of(graph, made, "sea"),
        storm=text_of(graph, made, "storm"),
    )
    sea, storm = (found[name]["value.0.0"][0] for name in ("sea", "storm"))
    hard, soft = (found[name]["value.0.0"] for name in ("hard", "soft"))
    for frame in range(LENGTH):
        torch.testing.assert_close(hard[frame], sea if frame < 4 else storm)
    # The even split is at frame 3; the two frames around it hold a quarter and three quarters.
    for frame, share in enumerate((0, 0, 0.25, 0.75, 1, 1)):
        torch.testing.assert_close(soft[frame], torch.lerp(sea, storm, share))


def test_one_prompt_in_a_schedule_equals_the_prompt_alone(studio: Studio, graph: Graph) -> None:
    """Text per frame and text per video are two ways through the network."""
    results: dict[str, Any] = {}
    for name in ("scheduled", "plain"):
        made, image = still(studio, graph, "storm")
        if name == "scheduled":
            made.positive = schedule(graph, made, "storm\nstorm\nstorm", blend_frames=3)
            made.context(image)
        made.detail(image, SIZE, SIZE, LENGTH)
        noise = studio.noise(graph, unit_noise(1, frames=LENGTH))
        results[name] = made.sample(steps=2, noise=noise)
    found = studio.run(graph, **results)
    assert relative_error(found["scheduled"][SAMPLES], found["plain"][SAMPLES]) < TOLERANCE


def test_a_schedule_of_another_length_is_explained(studio: Studio, graph: Graph) -> None:
    made, image = still(studio, graph)
    made.positive = schedule(graph, made, "sea\nstorm", length=LENGTH + 1)
    made.context(image).detail(image, SIZE, SIZE, LENGTH)
    message = "schedule has 7 frames, but the video has 6"
    assert message in studio.error(graph, made.sample(steps=1))
