"""Drag Motion: a cut-out of a picture along a path, as a rough reference video.

Source: docs/motion.md#drag.
"""

from typing import Any, NamedTuple

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.motion.drag import drag
from ..dc_model.motion.path import middle, path_of_masks, read_path
from .checks import InputError, require_count, require_multiple_of_8, require_pixel_room
from .door import checked
from .host.path_picture import path_picture
from .host.pictures import fit_pictures
from .inputs import CATEGORY, integer, size_inputs


class Dragged(NamedTuple):
    """reference: `[T, H, W, 3]`; mask: `[T, H, W]`; preview: `[1, H, W, 3]`."""

    reference: Tensor
    mask: Tensor
    preview: Tensor


def fitted_picture(image: Tensor, width: int, height: int, length: int) -> Tensor:
    """One image `[1, H, W, C]` at the video's size: `[C, height, width]`.

    Raises InputError for several images, sizes that are not multiples of 8, and a video that would
    not fit into the memory.
    """
    require_multiple_of_8(width=width, height=height)
    require_pixel_room(length, height, width)
    require_count(image.shape[0], (1,), "images", "connect one picture")
    return fit_pictures(image.movedim(-1, 1), height, width, "crop")[0].clamp(0, 1)


def drag_picture(
    image: Tensor,
    mask: Tensor,
    path: str,
    size: tuple[int, int, int],
    path_masks: Tensor | None = None,
) -> Dragged:
    """The part of `image` `[1, H, W, 3]` under `mask` `[1, H, W]`, dragged along a path.

    size: width, height and length of the video. path: as `read_path` takes it, in the video's
    pixels. path_masks: `[K, H, W]`, in place of the text. Raises InputError or ValueError for what
    does not fit.
    """
    width, height, length = size
    picture = fitted_picture(image, width, height, length)
    require_count(mask.shape[0], (1,), "masks of what moves", "connect one mask")
    cut = _fitted(mask, image, width, height)[0]
    if path_masks is None:
        poses = read_path(path, (*middle(cut), 1.0, 0.0), length)
    else:
        poses = path_of_masks(_fitted(path_masks, image, width, height), length)
    stop = comfy.model_management.throw_exception_if_processing_interrupted
    video, masks = drag(picture, cut, poses, stop)
    preview = path_picture(picture.movedim(0, -1), poses[:, :2])
    return Dragged(video.movedim(1, -1), masks, preview)


def _fitted(masks: Tensor, image: Tensor, width: int, height: int) -> Tensor:
    """Masks of the image's size at the video's: `[K, height, width]`."""
    if masks.shape[1:] != image.shape[1:3]:
        raise InputError(
            f"A mask has {masks.shape[2]} x {masks.shape[1]} pixels, the image {image.shape[2]} x "
            f"{image.shape[1]}; paint it on this image, for example with Load Image's mask editor."
        )
    return fit_pictures(masks[:, None], height, width, "crop")[:, 0].clamp(0, 1)


def length_input() -> Any:
    return integer("length", 16, (1, 1024), "Frames, as in Visual Detail Guidance.")


class DragMotion(io.ComfyNode):
    """Moves a part of a picture along a path and fills the ground that it leaves."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterDragMotion",
            display_name="DynamiCrafter Drag Motion",
            search_aliases=[
                "drag object",
                "cut and drag",
                "trajectory",
                "motion path",
                "move object",
            ],
            category=f"{CATEGORY}/motion",
            description="Moves a part of the picture along a path: a rough video that Reference "
            "Motion makes real.",
            inputs=[
                io.Image.Input("image", tooltip="The picture that the video starts from."),
                io.Mask.Input("mask", tooltip="What moves, painted on the picture."),
                io.String.Input(
                    "path",
                    multiline=True,
                    default="320, 160",
                    tooltip="Where its middle goes, in pixels of the video: one point x, y on a "
                    "line, the last at the end. Optional: a frame in front (8: 320, 160), and "
                    "after the point its size and its turn in degrees (320, 160, 1.5, 90).",
                ),
                *size_inputs(
                    "Pixels, as in Visual Detail Guidance.",
                    "Pixels, as in Visual Detail Guidance.",
                ),
                length_input(),
                io.Mask.Input(
                    "path_masks",
                    optional=True,
                    tooltip="Masks of where it is, spread over the frames, in place of path. Their "
                    "area sets its size.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="reference"),
                io.Mask.Output(display_name="mask"),
                io.Image.Output(display_name="preview"),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        mask: Tensor,
        path: str,
        width: int,
        height: int,
        length: int,
        path_masks: Tensor | None = None,
    ) -> io.NodeOutput:
        size = (width, height, length)
        return io.NodeOutput(*drag_picture(image, mask, path, size, path_masks))


NODES = [DragMotion]
