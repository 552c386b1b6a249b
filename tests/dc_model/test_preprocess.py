"""CLIP's preprocessing equals the published one; images reach the video's size as torchvision's."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from patterns import checkerboard
from safetensors.torch import load_file

from dc_model.preprocess import clip_preprocess, clip_squash, eight_bit, fit_image, square_image

SIZES = ("100x180", "200x130", "224x224", "256x256", "320x512", "576x1024")
FLOAT16_ROUNDING = 2.0**-11


@pytest.mark.parametrize("size", SIZES)
def test_clip_preprocess_equals_the_published_one(size, golden: Path):
    data = load_file(golden / "modules" / f"clip_preprocess_{size}.safetensors")
    if "random_u8" in data:
        pixels, expected = data["random_u8"], data["random_out"].float()
    else:
        pixels = data["blocky_u8_div8"].repeat_interleave(8, 2).repeat_interleave(8, 3)
        expected = data["blocky_out"].float()
    found = clip_preprocess(pixels.float() / 127.5 - 1)
    # The stored values are rounded to float16.
    assert ((found - expected).abs() <= FLOAT16_ROUNDING * expected.abs() + 1e-6).all()


@pytest.mark.parametrize("size", [(225, 301), (1080, 1920), (1000, 10), (2, 3000), (97, 41)])
def test_the_squash_is_the_blur_and_the_resize_of_kornia(size):
    kornia = pytest.importorskip("kornia.geometry.transform")
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = {"interpolation": "bicubic", "align_corners": True, "antialias": True}
    expected = kornia.resize(image, (224, 224), **options)
    assert (clip_squash(image) - expected).norm() <= 1e-6 * expected.norm()


def test_a_photograph_takes_neither_time_nor_copies():
    """24 megapixels, in the memory layout of the host's images."""
    status, peak = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not peak.exists():
        pytest.skip("needs Linux's process figures")

    def memory(field: str) -> int:
        lines = (line.split() for line in status.read_text().splitlines())
        return next(int(words[1]) * 1024 for words in lines if words[0] == f"{field}:")

    photo = torch.full((1, 4000, 6000, 3), 0.5)
    rgb = photo.movedim(-1, 1)
    peak.write_text("5")
    before, started = memory("VmRSS"), time.process_time()
    squashed, fitted = clip_squash(rgb), fit_image(rgb, 320, 512, "crop")
    assert torch.allclose(squashed, torch.tensor(0.5))
    assert torch.allclose(fitted, torch.tensor(0.5))
    assert time.process_time() - started < 4
    assert memory("VmHWM") - before < photo.nbytes // 2


def test_black_image_becomes_the_normalised_grey_of_the_unconditional_branch():
    found = clip_preprocess(torch.zeros(1, 3, 320, 512))
    assert found.shape == (1, 3, 224, 224)
    expected = torch.tensor([0.0685, 0.1615, 0.3324])  # (0.5 - mean) / std
    assert (found.amax(dim=(0, 2, 3)) - expected).abs().max() < 1e-3
    assert (found.amin(dim=(0, 2, 3)) - expected).abs().max() < 1e-3


def ramp(height: int, width: int) -> torch.Tensor:
    """`[1, 3, H, W]` in [0, 1]: smooth, asymmetric, different in every channel."""
    y = torch.linspace(0, 1, height).view(1, 1, -1, 1)
    x = torch.linspace(0, 1, width).view(1, 1, 1, -1)
    channels = [x.expand(1, 1, height, width), y.expand(1, 1, height, width), 0.5 + 0.4 * x * y]
    return torch.cat(channels, dim=1)


def published_fit(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Shorter side to min(target) by Pillow, then the centre cut, as the published script does."""
    pillow = pytest.importorskip("PIL.Image")
    pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    picture = pillow.fromarray(pixels)
    short, long = sorted(picture.size)
    shorter, longer = min(height, width), int(min(height, width) * long / short)
    is_wide = picture.width >= picture.height
    size = (longer, shorter) if is_wide else (shorter, longer)
    resized = np.asarray(picture.resize(size, pillow.Resampling.BILINEAR)).astype(np.float32) / 255
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    cut = resized[top : top + height, left : left + width]
    return torch.from_numpy(cut).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((720, 1281), (320, 512)),
        ((333, 1000), (320, 512)),
        ((64, 128), (64, 128)),
        ((100, 181), (160, 256)),
        ((301, 301), (256, 256)),
        ((901, 500), (256, 256)),
    ],
)
def test_crop_equals_the_published_resize_and_cut(old, new):
    image = ramp(*old)
    found, expected = fit_image(image, new[0], new[1], "crop"), published_fit(image, *new)
    assert found.shape == expected.shape == (1, 3, *new)
    # The published script rounds to 8 bits before and after resizing.
    assert (found - expected).abs().max() < 1.6 / 255


@pytest.mark.parametrize("old", [(720, 1280), (301, 533), (333, 1000), (100, 179)], ids=str)
@pytest.mark.parametrize("new", [(96, 128), (97, 129), (64, 113)], ids=str)
def test_crop_of_a_checkerboard_equals_torchvisions(old, new):
    """Its squares show a shift by a third of a pixel, in the scale and in the cut."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    image = checkerboard(*old).permute(2, 0, 1)[None].float() / 255
    # The published way: the shorter side to the target's, the longer one rounded down.
    expected = functional.center_crop(functional.resize(image, [new[0]], antialias=True), [*new])
    found = fit_image(image, new[0], new[1], "crop")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("old", [(1, 1), (10, 2000), (2000, 10), (64, 128), (128, 64), (97, 41)])
def test_every_size_is_reached_from_every_size(old, fit):
    found = fit_image(torch.full((2, 3, *old), 0.5), 64, 128, fit)
    assert found.shape == (2, 3, 64, 128)
    assert found.max() <= 0.5 + 1e-6
    assert found.min() >= (0.0 if fit == "pad" else 0.5 - 1e-6)


def test_an_image_of_the_right_size_is_untouched():
    image = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    for fit in ("crop", "pad", "stretch"):
        assert torch.equal(fit_image(image, 64, 128, fit), image)


def test_pad_puts_black_bars_on_both_sides_as_published_for_narrow_images():
    found = fit_image(torch.ones(1, 3, 100, 100), 320, 512, "pad")
    assert (found[..., :96] == 0).all()
    assert (found[..., -96:] == 0).all()
    assert torch.allclose(found[..., 96:-96], torch.ones(1, 3, 320, 320))


def test_pad_of_an_odd_remainder_puts_the_wider_bar_last():
    found = fit_image(torch.ones(1, 3, 8, 5), 8, 8, "pad")
    assert found[0, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]


def test_stretch_ignores_the_aspect_ratio():
    found = fit_image(ramp(50, 200), 64, 64, "stretch")
    assert torch.allclose(found[0, 0, :, 32], found[0, 0, 0, 32].expand(64), atol=1e-5)
    assert found[0, 0, 0, 0] < 0.02
    assert found[0, 0, 0, -1] > 0.98


def test_square_of_each_fit():
    image = ramp(60, 100)
    assert square_image(image, "stretch") is image
    assert torch.equal(square_image(image, "crop"), image[..., 20:80])
    padded = square_image(image, "pad")
    assert padded.shape == (1, 3, 100, 100)
    assert torch.equal(padded[:, :, 20:80], image)
    assert padded[:, :, :20].abs().max() == 0


def test_unknown_fit_is_named():
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="fit is 'cover'"):
        fit_image(image, 8, 8, "cover")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fit is 'cover'"):
        square_image(image, "cover")  # type: ignore[arg-type]


STRIPS = [(1, 10000), (10000, 1), (16, 10000), (10000, 16), (1, 1)]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("strip", STRIPS, ids=str)
@pytest.mark.parametrize("size", [(576, 1024), (1024, 576)], ids=str)
def test_strips_cost_no_more_than_pictures(size, strip, fit):
    """To cover 576 rows, a row of 10000 pixels would grow to 40 GB before the cut."""
    started = time.process_time()
    height, width = size
    fitted = fit_image(torch.full((1, 3, *strip), 0.5), height, width, fit)
    assert fitted.shape == (1, 3, *size)
    assert time.process_time() - started < 5
    bars = fitted == 0
    assert bool(bars.any()) == (fit == "pad")
    assert torch.allclose(fitted[~bars], torch.tensor(0.5))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("strip", STRIPS, ids=str)
def test_strips_reach_the_image_encoder(strip, fit):
    """A square of bars around 10000 pixels would take three minutes."""
    started = time.process_time()
    found = clip_preprocess(square_image(torch.zeros(1, 3, *strip), fit) * 2 - 1)
    assert found.shape == (1, 3, 224, 224)
    assert bool(found.isfinite().all())
    assert time.process_time() - started < 20


def test_a_strip_is_cut_around_its_middle():
    """A bright middle stays in sight, the far ends do not."""
    image = torch.zeros(1, 3, 2, 4000)
    image[..., 1999:2001] = 1
    fitted = fit_image(image, 64, 64, "crop")
    assert fitted[..., 30:34].min() > 0.9
    assert fitted.shape == (1, 3, 64, 64)


def test_of_a_strip_sixteen_times_the_aspect_ratio_is_enlarged(monkeypatch):
    sizes = []
    resize = torch.nn.functional.interpolate

    def watched(image, size, **options):
        sizes.append(tuple(size))
        return resize(image, size, **options)

    monkeypatch.setattr(torch.nn.functional, "interpolate", watched)
    for strip in ((4, 4000), (4000, 4), (4, 128), (128, 4)):
        fit_image(torch.zeros(1, 3, *strip), 32, 64, "crop")
    assert sizes == [(32, 1024), (512, 64), (32, 1024), (512, 64)]


def test_a_padded_strip_is_four_times_clips_size():
    image = torch.zeros(1, 3, 10, 4000)
    assert square_image(image, "pad").shape == (1, 3, 896, 896)
    assert square_image(image[..., :896], "pad").shape == (1, 3, 896, 896)


def test_eight_bits_are_the_nearest():
    levels = torch.tensor([-1.01, -1.0, -0.5, 0.0, 0.003, 0.999, 1.0, 1.01])
    assert eight_bit(levels).tolist() == [0, 0, 64, 128, 128, 255, 255, 255]
