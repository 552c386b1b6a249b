"""Images on their way into the model: fitting to the video's size, and CLIP's preprocessing."""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

CLIP_SIZE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Of larger images the published blur takes a minute and shows no more detail.
LARGEST_SIDE = 8192
# A strip's square of bars has far more pixels than the strip.
LARGEST_PADDED = 4 * CLIP_SIZE
# Of a strip, so much more than the video's aspect ratio is resized before the cut.
LONGEST_STRIP = 16

Fit = Literal["crop", "pad", "stretch"]


def clip_preprocess(image: Tensor) -> Tensor:
    """CLIP's input from images of any size: `[B, 3, H, W]` in [-1, 1] to `[B, 3, 224, 224]`.

    The aspect ratio is not kept; bicubic, aligned corners, Gaussian blur before shrinking; then
    normalised with CLIP's mean and standard deviation, without clamping.
    Source: DynamiCrafter's `FrozenOpenCLIPImageEmbedderV2.preprocess`; spec section 4.
    """
    image = _at_most(image, LARGEST_SIDE)
    # Slow to import and needed here only.
    from kornia.geometry.transform import resize

    resized = resize(
        image.float(),
        (CLIP_SIZE, CLIP_SIZE),
        interpolation="bicubic",
        align_corners=True,
        antialias=True,
    )
    mean = resized.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = resized.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return ((resized + 1) / 2 - mean) / std


def fit_image(image: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """Bring images to the video's size: `[B, C, H, W]` in [0, 1] to `[B, C, height, width]`.

    fit: "crop" covers the size and cuts the centre, as published for images of the video's aspect
        or wider; "pad" fits inside with black bars; "stretch" ignores the aspect ratio.
    Bilinear with antialias. Raises ValueError for another `fit`.
    """
    if fit == "stretch":
        return _resize(image, height, width)
    if fit == "crop":
        image = _cut_strip(image, height, width)
        return _cut_centre(_resize_to_scale(image, height, width, cover=True), height, width)
    if fit == "pad":
        return _pad_centre(_resize_to_scale(image, height, width, cover=False), height, width)
    raise ValueError(f"fit is {fit!r}; choose crop, pad or stretch.")


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
        image = _at_most(image, LARGEST_PADDED)
        side = max(image.shape[-2:])
        return _pad_centre(image, side, side)
    raise ValueError(f"fit is {fit!r}; choose stretch, crop or pad.")


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bilinear", antialias=True)


def _at_most(image: Tensor, side: int) -> Tensor:
    """The image with its longer side at most `side`: a blur of more pixels takes minutes."""
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
    tallest = math.ceil(LONGEST_STRIP * old_width * height / width)
    widest = math.ceil(LONGEST_STRIP * old_height * width / height)
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
