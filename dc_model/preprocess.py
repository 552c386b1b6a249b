"""Images on their way into the model: fitting to the video's size, and CLIP's preprocessing."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .shown import shown

CLIP_SIZE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Pixels that are converted at once while a picture is read.
BAND_PIXELS = 2**21
# A strip's square of bars has far more pixels than the strip.
MAX_PADDED = 4 * CLIP_SIZE
# Of a strip, so much more than the video's aspect ratio is resized before the cut.
MAX_STRIP = 16

Fit = Literal["crop", "pad", "stretch"]


def clip_preprocess(image: Tensor) -> Tensor:
    """CLIP's input from images of any size: `[B, 3, H, W]` in [-1, 1] to `[B, 3, 224, 224]`.

    `clip_squash`, then `clip_normalise`.
    Source: DynamiCrafter's `FrozenOpenCLIPImageEmbedderV2.preprocess`.
    """
    return clip_normalise(clip_squash(image))


def clip_normalise(image: Tensor) -> Tensor:
    """CLIP's mean and standard deviation: `[B, 3, H, W]` in [-1, 1], without clamping."""
    mean = image.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = image.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return ((image + 1) / 2 - mean) / std


def clip_squash(image: Tensor, between: Callable[[], object] = lambda: None) -> Tensor:
    """Images of any size and range in CLIP's size: `[B, C, H, W]` to `[B, C, 224, 224]`, float32.

    The aspect ratio is not kept; bicubic, aligned corners, Gaussian blur before shrinking, as
    published (kornia's `resize`). Blur and resize are linear and act on rows and columns alone, so
    a picture is read once, a band of rows at a time, and no copy of it is made. between: called
    before each band; what it raises ends the work.
    """
    down, across = (_squash_matrix(side).to(image.device) for side in image.shape[-2:])
    return torch.cat([_squash_one(one, down, across, between) for one in image.split(1)])


def fit_image(image: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """Bring images to the video's size: `[B, C, H, W]` in [0, 1] to `[B, C, height, width]`.

    fit: "crop" covers the size and cuts the centre, as published for images of the video's aspect
        or wider; "pad" fits inside with black bars; "stretch" ignores the aspect ratio.
    Bilinear with antialias; docs/differences.md#fitting. Raises ValueError for another `fit`.
    """
    if fit == "stretch":
        return _resize(image, height, width)
    if fit == "crop":
        image = _cut_strip(image, height, width)
        return _cut_centre(_resize_to_scale(image, height, width, cover=True), height, width)
    if fit == "pad":
        return _pad_centre(_resize_to_scale(image, height, width, cover=False), height, width)
    raise ValueError(f"fit is '{shown(fit)}'; choose crop, pad or stretch.")


def eight_bit(frames: Tensor) -> Tensor:
    """Pixels as files hold them: any shape, [-1, 1] to uint8, rounded to nearest."""
    return ((frames + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def square_image(image: Tensor, fit: Fit) -> Tensor:
    """What CLIP's squash to a square sees: `[B, C, H, W]` in [0, 1].

    fit: "stretch" leaves the image as it is, the published way; "crop" cuts the central square;
        "pad" adds black bars up to a square. Raises ValueError for another `fit`.
    """
    height, width = image.shape[-2:]
    if fit == "stretch":
        return image
    if fit == "crop":
        return _cut_centre(image, min(height, width), min(height, width))
    if fit == "pad":
        image = _at_most(image, MAX_PADDED)
        side = max(image.shape[-2:])
        return _pad_centre(image, side, side)
    raise ValueError(f"fit is '{shown(fit)}'; choose stretch, crop or pad.")


def _squash_one(
    image: Tensor, down: Tensor, across: Tensor, between: Callable[[], object]
) -> Tensor:
    """`down @ image @ across.T` for `[1, C, H, W]`; a row counts for few rows of the result."""
    height, width = image.shape[-2:]
    rows = image.new_zeros((*image.shape[:2], CLIP_SIZE, width), dtype=torch.float32)
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        between()
        band = slice(top, min(top + step, height))
        touched = down[:, band].any(dim=1).nonzero().flatten()
        if len(touched):
            part = slice(int(touched[0]), int(touched[-1]) + 1)
            rows[:, :, part] += down[part, band] @ image[:, :, band].float()
    return rows @ across.T


def _squash_matrix(side: int) -> Tensor:
    """Weights `[224, side]` of an axis: Gaussian blur with reflected borders, then bicubic."""
    pixels, cubic = _cubic_taps(side)  # [224, 4]
    offsets, blur = _blur_taps(side / CLIP_SIZE)  # [K]
    places = (pixels[..., None] + offsets).abs()  # [224, 4, K]
    last = side - 1
    places = torch.where(places > last, 2 * last - places, places)
    weights = cubic[..., None] * blur
    matrix = torch.zeros(CLIP_SIZE, side)
    return matrix.scatter_add_(1, places.flatten(1), weights.flatten(1))


def _cubic_taps(side: int) -> tuple[Tensor, Tensor]:
    """The four pixels `[224, 4]` that each result is made of, and PyTorch's weights of them."""
    # In float32, as PyTorch's own positions are.
    at = torch.arange(CLIP_SIZE) * (torch.tensor(side - 1.0) / (CLIP_SIZE - 1))
    pixels = (at.floor().long()[:, None] + torch.arange(-1, 3)).clamp(0, side - 1)
    # Every fourth pixel is lit, so each result shows the weight of one of its four.
    combs = F.one_hot(torch.arange(side) % 4, 4).T[None, :, :, None].float()  # [1, 4, side, 1]
    shown = F.interpolate(combs, (CLIP_SIZE, 1), mode="bicubic", align_corners=True)[0, ..., 0]
    weights = shown.T.gather(1, pixels % 4)
    # At the ends one pixel stands for several, with all their weight.
    again = pixels.diff(dim=1, prepend=pixels[:, :1] - 1) == 0
    return pixels, weights.masked_fill(again, 0.0)


def _blur_taps(factor: float) -> tuple[Tensor, Tensor]:
    """Offsets `[K]` and weights of the blur before an axis shrinks by `factor`."""
    sigma = (factor - 1) / 2
    if sigma <= 0:
        return torch.zeros(1, dtype=torch.long), torch.ones(1)
    reach = int(max(4 * sigma, 3)) // 2
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-(offsets.float() ** 2) / (2 * sigma**2))
    return offsets, weights / weights.sum()


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bilinear", antialias=True)


def _at_most(image: Tensor, side: int) -> Tensor:
    """The image with its longer side at most `side`."""
    if max(image.shape[-2:]) <= side:
        return image
    return _resize_to_scale(image.float(), side, side, cover=False)


def _resize_to_scale(image: Tensor, height: int, width: int, cover: bool) -> Tensor:
    """Keep the aspect ratio; one side gets its target exactly, the other is rounded down.

    Rounding down is what torchvision's `Resize` of the shorter side does.
    """
    old_height, old_width = image.shape[-2:]
    is_wider = old_width * height >= width * old_height
    if is_wider == cover:
        width = max(1, height * old_width // old_height)
    else:
        height = max(1, width * old_height // old_width)
    return _resize(image, height, width)


def _cut_strip(image: Tensor, height: int, width: int) -> Tensor:
    """A strip without the far ends, which covering would enlarge by hundreds only to cut them."""
    old_height, old_width = image.shape[-2:]
    tallest = math.ceil(MAX_STRIP * old_width * height / width)
    widest = math.ceil(MAX_STRIP * old_height * width / height)
    return _cut_centre(image, min(old_height, tallest), min(old_width, widest))


def _cut_centre(image: Tensor, height: int, width: int) -> Tensor:
    # Rounded as torchvision's `CenterCrop` rounds.
    top = round((image.shape[-2] - height) / 2)
    left = round((image.shape[-1] - width) / 2)
    return image[..., top : top + height, left : left + width]


def _pad_centre(image: Tensor, height: int, width: int) -> Tensor:
    rows, columns = height - image.shape[-2], width - image.shape[-1]
    top, left = rows // 2, columns // 2
    bars = (left, columns - left, top, rows - top)
    return F.pad(image, bars) if any(bars) else image
