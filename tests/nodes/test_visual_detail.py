"""Visual detail guidance: where each mode puts which image, and what it refuses."""

import logging
from typing import Any

import pytest
import torch
from fakes import FakeVAE, conditioning
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.host.conditionings import Conditionings
from pack.nodes.inputs import Keyframe
from pack.nodes.visual_detail import Encoder, Images, VideoFormat, guide, video_count
from torch import Tensor

LENGTH, SIZE = 6, 16


def plain(*greys: float, height: int = SIZE, width: int = SIZE) -> Tensor:
    """Grey images `[B, H, W, 3]`, which the fake VAE encodes to these numbers."""
    return torch.tensor(greys, dtype=torch.float32)[:, None, None, None].expand(
        -1, height, width, 3
    )


def run(images: Images, mode: str, batch_size: int = 1, fps: int = 0) -> tuple[Any, Any]:
    """The conditionings and the LATENT."""
    texts = Conditionings(conditioning(), conditioning(), conditioning())
    encode = Encoder(FakeVAE(), SIZE, SIZE)
    return guide(texts, encode, images, VideoFormat(SIZE, SIZE, LENGTH, batch_size, fps), mode)


def greys(images: Images, mode: str, batch_size: int = 1) -> list[list[float]]:
    """What is concatenated to each frame of each video."""
    guided, latent = run(images, mode, batch_size)
    rows = guided.positive[0][1][keys.CONCAT_LATENT]
    assert rows.shape == latent["samples"].shape == (len(rows), 4, 2, 2)
    assert torch.allclose(rows, rows[:, :1, :1, :1].expand_as(rows), atol=1e-6)
    return [[round(x, 4) for x in video] for video in rows[:, 0, 0, 0].view(-1, LENGTH).tolist()]


FIRST, LAST = plain(0.5), plain(1.0)


@pytest.mark.parametrize(
    ("mode", "images", "expected"),
    [
        ("animate", Images(FIRST), [0.5] * 6),
        ("loop", Images(FIRST), [0.5, 0, 0, 0, 0, 0.5]),
        ("interpolate", Images(FIRST, LAST), [0.5, 0, 0, 0, 0, 1]),
        ("per_frame", Images(plain(0, 0.1, 0.2, 0.3, 0.4, 0.5)), [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("keyframes", Images(FIRST), [0.5, 0, 0, 0, 0, 0]),
        (
            "keyframes",
            Images(FIRST, keyframes=(Keyframe(2, plain(0.7)), Keyframe(-1, LAST))),
            [0.5, 0, 0.7, 0, 0, 1],
        ),
        # A keyframe at the first frame replaces the image, however it is counted.
        ("keyframes", Images(FIRST, keyframes=(Keyframe(0, LAST),)), [1, 0, 0, 0, 0, 0]),
        ("keyframes", Images(FIRST, keyframes=(Keyframe(-LENGTH, LAST),)), [1, 0, 0, 0, 0, 0]),
    ],
)
def test_each_mode_puts_images_at_their_frames(
    mode: str, images: Images, expected: list[float]
) -> None:
    assert greys(images, mode) == [expected]


@pytest.mark.parametrize(
    ("mode", "images", "batch_size", "expected"),
    [
        ("animate", Images(plain(0.5, 1)), 1, [[0.5] * 6, [1] * 6]),
        ("animate", Images(FIRST), 2, [[0.5] * 6] * 2),
        ("interpolate", Images(plain(0.5, 0.7), LAST), 1, [[x, 0, 0, 0, 0, 1] for x in (0.5, 0.7)]),
        ("animate", Images(plain(0.5, 1)), 2, [[0.5] * 6, [1] * 6]),
        ("loop", Images(plain(0.5, 1)), 1, [[x, 0, 0, 0, 0, x] for x in (0.5, 1)]),
        ("interpolate", Images(FIRST, plain(1, 0.7)), 1, [[0.5, 0, 0, 0, 0, x] for x in (1, 0.7)]),
        ("per_frame", Images(plain(*[0.5] * 6, *[1] * 6)), 2, [[0.5] * 6, [1] * 6]),
        ("keyframes", Images(FIRST), 2, [[0.5, 0, 0, 0, 0, 0]] * 2),
        ("per_frame", Images(FIRST.expand(6, -1, -1, -1)), 2, [[0.5] * 6] * 2),
    ],
)
def test_batches_are_videos(
    mode: str, images: Images, batch_size: int, expected: list[list[float]]
) -> None:
    assert greys(images, mode, batch_size) == expected


def test_every_conditioning_says_what_the_video_is() -> None:
    guided, latent = run(Images(FIRST), "loop", fps=9)
    for (_, values), *_ in guided:
        assert (values[keys.NUM_FRAMES], values[keys.SPEED], values[keys.MODE]) == (6, 9, "loop")
    assert latent["num_frames"] == LENGTH
    assert not latent["samples"].any()


def test_the_conditionings_that_came_in_stay_as_they_were() -> None:
    given = conditioning()
    texts = Conditionings(given, conditioning())
    encode = Encoder(FakeVAE(), SIZE, SIZE)
    guided, _ = guide(texts, encode, Images(FIRST), VideoFormat(SIZE, SIZE, LENGTH), "animate")
    assert guided.image_only is None
    assert keys.CONCAT_LATENT not in given[0][1]


@pytest.mark.parametrize(
    ("mode", "images", "batch_size", "message"),
    [
        ("animate", Images(plain(0, 0)), 3, "2 images; expected 1 or 3"),
        ("per_frame", Images(plain(*[0] * 12)), 1, "12 images; expected 6"),
        ("interpolate", Images(FIRST), 1, "mode interpolate needs end_image"),
        ("interpolate", Images(plain(0, 0, 0), plain(0, 0)), 1, "2 images; expected 1 or 3"),
        ("keyframes", Images(plain(0, 0)), 1, "2 images; expected 1"),
        ("per_frame", Images(plain(0, 0)), 1, "2 images; expected 6"),
    ],
)
def test_wrong_counts_are_explained(
    mode: str, images: Images, batch_size: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(images, mode, batch_size)


@pytest.mark.parametrize(
    ("frames", "message"),
    [((6,), "Keyframe 6 is outside the video"), ((3, -3), "Keyframes 3 and -3 are both frame 3")],
)
def test_wrong_keyframes_are_explained(frames: tuple[int, ...], message: str) -> None:
    placed = tuple(Keyframe(frame, LAST) for frame in frames)
    with pytest.raises(ValueError, match=message):
        run(Images(FIRST, keyframes=placed), "keyframes")


@pytest.mark.parametrize(
    ("mode", "unused"),
    [
        ("animate", {"end_image", "keyframes"}),
        ("interpolate", {"keyframes"}),
        ("keyframes", {"end_image"}),
    ],
)
def test_the_log_names_images_that_the_mode_does_not_use(
    caplog: pytest.LogCaptureFixture, mode: str, unused: set[str]
) -> None:
    run(Images(FIRST, LAST, (Keyframe(2, LAST),)), mode)
    for name in ("end_image", "keyframes"):
        assert (f"{name} is connected, but mode {mode}" in caplog.text) == (name in unused), name


def test_the_log_says_that_many_images_are_many_videos(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(Images(FIRST), "animate")
    assert "videos of" not in caplog.text
    run(Images(plain(0, 1)), "animate")
    assert "2 images make 2 videos of 6 frames" in caplog.text


@pytest.mark.parametrize(("size", "message"), [(12, "choose a multiple of 8"), (0, "example 8")])
def test_a_format_has_whole_latents(size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VideoFormat(SIZE, size, LENGTH)


def test_a_format_fits_into_the_memory() -> None:
    with pytest.raises(InputError, match="choose a smaller size"):
        VideoFormat(8192, 8192, 1024, 64)


@pytest.mark.parametrize(
    ("batch_size", "images", "videos"), [(1, (1,), 1), (1, (1, 3), 3), (3, (1, 3), 3), (4, (1,), 4)]
)
def test_the_number_of_videos(batch_size: int, images: tuple[int, ...], videos: int) -> None:
    assert video_count(batch_size, *(plain(*[0.0] * n) for n in images)) == videos


def test_a_video_autoencoder_is_refused() -> None:
    class Other(FakeVAE):
        def encode(self, images: Tensor) -> Tensor:
            return super().encode(images)[:, :, None]

    with pytest.raises(InputError, match="use the checkpoint's VAE"):
        Encoder(Other(), SIZE, SIZE)(FIRST)


def test_fit_is_the_one_that_was_chosen() -> None:
    """A picture with bright margins: cut off, beside black bars, or squeezed."""
    wide = plain(0.5, height=16, width=32).clone()
    wide[:, :, :8] = wide[:, :, -8:] = 1.0
    found = {
        fit: Encoder(FakeVAE(), SIZE, SIZE, fit)(wide)[0, 0] for fit in ("crop", "pad", "stretch")
    }
    assert torch.allclose(found["crop"], torch.tensor(0.5), atol=0.05)
    # Half of each row of latents is the black bar.
    assert torch.allclose(found["pad"], found["stretch"] / 2, atol=0.05)
    assert torch.allclose(found["stretch"], torch.tensor(0.75), atol=0.05)


def test_frames_held_for_another_video_are_let_go() -> None:
    held: dict[str, Any] = {keys.HELD_LATENTS: FIRST}
    texts = Conditionings(conditioning(**held), conditioning())
    encode = Encoder(FakeVAE(), SIZE, SIZE)
    guided, _ = guide(texts, encode, Images(FIRST), VideoFormat(SIZE, SIZE, LENGTH), "animate")
    assert guided.positive[0][1][keys.HELD_LATENTS] is None
