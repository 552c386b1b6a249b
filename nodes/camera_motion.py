"""Camera Motion: a camera that moves over one picture, as a rough reference video.

Source: docs/motion.md#camera.
"""

from typing import Any

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.motion.camera import MOVES, camera_path, move_camera, written_path
from .checks import require_count, require_proportions
from .door import checked
from .drag_motion import fitted_picture, length_input
from .host.pictures import fit_pictures
from .inputs import CATEGORY, real, size_inputs

WRITTEN = "path"


def film(
    image: Tensor,
    move: str,
    amount: float,
    path: str,
    size: tuple[int, int, int],
    depth: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The reference `[T, H, W, 3]` of a camera over `image` `[1, H, W, 3]`, and its mask.

    move: a name of `MOVES` with its `amount`, or "path" with `path`, as `written_path` takes it.
    size: width, height and length of the video. depth: `[1, H, W, 3]`, bright is near. Raises
    InputError or ValueError for what does not fit.
    """
    width, height, length = size
    picture = fitted_picture(image, width, height, length)
    written = move == WRITTEN
    cameras = written_path(path, length) if written else camera_path(move, amount, length)
    near = None if depth is None else _fitted_depth(depth, image, width, height)
    stop = comfy.model_management.throw_exception_if_processing_interrupted
    video, masks = move_camera(picture, cameras, near, stop)
    return video.movedim(1, -1), masks


def _fitted_depth(depth: Tensor, image: Tensor, width: int, height: int) -> Tensor:
    """Nearness `[height, width]` in [0, 1]."""
    require_count(depth.shape[0], (1,), "depth pictures", "connect one")
    require_proportions(depth.shape[1:3], image.shape[1:3], "The depth picture", "the image")
    grey = depth.mean(dim=-1)[:, None]  # [1, 1, H, W]
    return fit_pictures(grey, height, width, "crop")[0, 0].clamp(0, 1)


class CameraMotion(io.ComfyNode):
    """Pans, zooms, rolls or orbits over a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterCameraMotion",
            display_name="DynamiCrafter Camera Motion",
            search_aliases=["camera control", "move camera", "pan zoom", "orbit", "parallax"],
            category=f"{CATEGORY}/motion",
            description="Moves the camera over the picture: a rough video that Reference Motion "
            "makes real.",
            inputs=[
                io.Image.Input("image", tooltip="The picture that the video starts from."),
                io.Combo.Input(
                    "move",
                    options=[*MOVES, WRITTEN],
                    default="zoom_in",
                    tooltip="Where the camera goes. orbit: circles sideways around the middle "
                    "distance; needs depth. path: as written below.",
                ),
                real(
                    "amount",
                    0.25,
                    (0.0, 2.0),
                    "How far by the end. Pans and orbits: share of the picture. Zooms: 1 "
                    "is twice as near or as far. Rolls: 1 is 90 degrees.",
                    step=0.01,
                ),
                io.String.Input(
                    "path",
                    multiline=True,
                    default="",
                    tooltip="For move path: one camera x, y, zoom, roll, orbit on a line, such as "
                    "0.1, 0, 1.2; x and y are shares of the picture. A frame in front is "
                    "optional (8: 0.1, 0).",
                ),
                *size_inputs(
                    "Pixels, as in Visual Detail Guidance.",
                    "Pixels, as in Visual Detail Guidance.",
                ),
                length_input(),
                io.Image.Input(
                    "depth",
                    optional=True,
                    tooltip="Depth of the picture, bright is near, for example by Depth Anything.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="reference"),
                io.Mask.Output(display_name="mask"),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        move: str,
        amount: float,
        path: str,
        width: int,
        height: int,
        length: int,
        depth: Any = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(*film(image, move, amount, path, (width, height, length), depth))


NODES = [CameraMotion]
