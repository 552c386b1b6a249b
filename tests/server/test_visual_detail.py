"""Visual Detail Guidance: where images go, how many, at which size and at which speed."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, unit_noise
from studio import Animation, Studio, picture
from torch import Tensor

from dc_model.preprocess import fit_image

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
CONCAT = "value.0.1.concat_latent_image"
CONTEXT = "value.0.1.dynamicrafter_image_context"
CONDITIONINGS = ("positive", "negative", "image_only")


def still(studio: Studio, graph: Graph, variant: str = "512") -> tuple[Animation, Link]:
    """Prompts and image context, and the image."""
    image = studio.image(graph, picture(SIZE, SIZE))
    made = Animation(studio, graph, studio.small_checkpoint(variant))
    return made.text("a cloud", "blurry").context(image), image


def pictures(studio: Studio, graph: Graph, count: int, phase: float = 0.0) -> Link:
    batch = [picture(SIZE, SIZE, phase + i) for i in range(count)]
    return studio.image(graph, torch.cat(batch))


def encoded(graph: Graph, made: Animation, image: Link) -> Link:
    return graph.add("VAEEncode", pixels=image, vae=made.vae)[0]


def videos(concat: Tensor, length: int = FRAMES) -> Tensor:
    return concat.unflatten(0, (-1, length))  # [N, T, 4, h, w]


def test_all_three_conditionings_get_the_images_and_keep_their_own_context(
    studio: Studio, graph: Graph
) -> None:
    made, image = still(studio, graph)
    texts = {"plain": made.positive, "no": made.negative}
    made.detail(image, SIZE, SIZE, FRAMES)
    guided: dict[str, Any] = {name: getattr(made, name) for name in CONDITIONINGS}
    found = studio.run(graph, latent=made.latent, **guided, **texts)
    for name in CONDITIONINGS:
        assert torch.equal(found[name][CONCAT], found["positive"][CONCAT])
    assert torch.equal(found["positive"]["value.0.0"], found["plain"]["value.0.0"])
    # The middle term of two-scale guidance: the negative's text beside the real image's tokens.
    assert torch.equal(found["image_only"]["value.0.0"], found["negative"]["value.0.0"])
    assert torch.equal(found["image_only"][CONTEXT], found["positive"][CONTEXT])
    assert torch.equal(found["negative"]["value.0.0"], found["no"]["value.0.0"])
    assert not torch.equal(found["negative"][CONTEXT], found["positive"][CONTEXT])
    assert found["latent"][SAMPLES].shape == (FRAMES, 4, SIZE // 8, SIZE // 8)
    assert not found["latent"][SAMPLES].any()
    assert int(found["latent"]["value.num_frames"]) == FRAMES


def test_a_loop_has_the_image_at_both_ends(studio: Studio, graph: Graph) -> None:
    made, image = still(studio, graph)
    made.detail(image, SIZE, SIZE, FRAMES, mode="loop")
    found = studio.run(graph, positive=made.positive, first=encoded(graph, made, image))
    concat = found["positive"][CONCAT]
    for frame in (0, -1):
        torch.testing.assert_close(concat[frame], found["first"][SAMPLES][0])
    assert not concat[1:-1].any()


# Mode, images, end images, batch_size: the number of videos, or the refusal.
COUNTS: list[tuple[str, int, int, int, int | str]] = [
    ("animate", 1, 0, 3, 3),
    ("animate", 3, 0, 1, 3),
    ("animate", 3, 0, 3, 3),
    ("animate", 2, 0, 3, "2 images; expected 1 or 3"),
    ("loop", 2, 0, 1, 2),
    ("interpolate", 1, 3, 1, 3),
    ("interpolate", 3, 1, 3, 3),
    ("interpolate", 2, 3, 1, "2 images; expected 1 or 3"),
    ("interpolate", 1, 0, 1, "needs end_image"),
    ("keyframes", 1, 0, 2, 2),
    ("keyframes", 2, 0, 1, "2 images; expected 1"),
    ("per_frame", FRAMES, 0, 1, 1),
    ("per_frame", FRAMES, 0, 2, 2),
    ("per_frame", 2 * FRAMES, 0, 2, 2),
    ("per_frame", 2 * FRAMES, 0, 1, f"{2 * FRAMES} images; expected {FRAMES}"),
    ("per_frame", 1, 0, 1, f"1 images; expected {FRAMES}"),
]


@pytest.mark.parametrize(("mode", "images", "ends", "batch_size", "expected"), COUNTS)
def test_images_and_videos(
    studio: Studio,
    graph: Graph,
    mode: str,
    images: int,
    ends: int,
    batch_size: int,
    expected: int | str,
) -> None:
    made, _ = still(studio, graph)
    given = pictures(studio, graph, images)
    end = pictures(studio, graph, ends, phase=9.0) if ends else None
    options: dict[str, Any] = {"mode": mode, "batch_size": batch_size, "end_image": end}
    made.detail(given, SIZE, SIZE, FRAMES, **options)
    if isinstance(expected, str):
        assert made.latent is not None
        assert expected in studio.error(graph, made.latent)
        return
    outputs: dict[str, Any] = {
        "positive": made.positive,
        "latent": made.latent,
        "start": encoded(graph, made, given),
    }
    if end is not None:
        outputs["end"] = encoded(graph, made, end)
    found = studio.run(graph, **outputs)
    assert len(found["latent"][SAMPLES]) == expected * FRAMES
    concat = videos(found["positive"][CONCAT])
    assert len(concat) == expected
    start = found["start"][SAMPLES]
    if mode == "per_frame":
        rows = start.unflatten(0, (-1, FRAMES)).expand(expected, -1, -1, -1, -1)
        torch.testing.assert_close(concat, rows, atol=1e-5, rtol=1e-4)
        return
    first = start.expand(expected, -1, -1, -1)
    torch.testing.assert_close(concat[:, 0], first, atol=1e-5, rtol=1e-4)
    if mode == "interpolate":
        last = found["end"][SAMPLES].expand(expected, -1, -1, -1)
        torch.testing.assert_close(concat[:, -1], last, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_fit_reaches_the_images(studio: Studio, graph: Graph, fit: Any) -> None:
    wide = picture(40, 96)
    made, _ = still(studio, graph)
    made.detail(studio.image(graph, wide), 48, SIZE, FRAMES, fit=fit)
    fitted = fit_image(wide.movedim(-1, 1), SIZE, 48, fit).movedim(1, -1)
    expected = encoded(graph, made, studio.image(graph, fitted))
    found = studio.run(graph, positive=made.positive, expected=expected)
    torch.testing.assert_close(
        found["positive"][CONCAT][:1], found["expected"][SAMPLES], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("variant", "mode", "speed"),
    [
        ("512", "animate", 24),
        ("512", "keyframes", 5),
        ("512", "per_frame", 24),
        ("1024", "loop", 5),
        ("toon_512", "loop", 10),
        ("256", "loop", 3),
    ],
)
def test_fps_0_is_the_models_own_for_the_mode(
    studio: Studio, graph: Graph, variant: str, mode: str, speed: int
) -> None:
    def sample(fps: int) -> Link:
        made, image = still(studio, graph, variant)
        if mode == "per_frame":
            image = pictures(studio, graph, FRAMES)
        made.detail(image, SIZE, SIZE, FRAMES, mode=mode, fps=fps)
        noise = studio.noise(graph, unit_noise(1))
        return made.sample(steps=1, cfg=1.0, noise=noise)

    found = studio.run(graph, own=sample(0), stated=sample(speed), other=sample(speed + 1))
    own, stated, other = (found[name][SAMPLES] for name in ("own", "stated", "other"))
    assert torch.equal(own, stated)
    assert not torch.equal(own, other)
