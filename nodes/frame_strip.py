"""Frame Strip: what a video does, in one picture."""

from comfy_api.latest import io
from torch import Tensor

from ..dc_model.video.frame_strip import frame_strip
from .door import checked
from .inputs import CATEGORY, integer
from .metrics import to_videos


class FrameStrip(io.ComfyNode):
    """Frames of one or more videos side by side."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterFrameStrip",
            display_name="DynamiCrafter Frame Strip",
            search_aliases=["contact sheet", "film strip", "storyboard image", "compare videos"],
            category=f"{CATEGORY}/image",
            description="Puts frames of one or more videos side by side in one picture, a row for "
            "each video.",
            inputs=[
                io.Image.Input(
                    "images", tooltip="Frames of one or more videos, one video after another."
                ),
                integer(
                    "num_frames", 0, (0, 1024), "Frames of one video. 0 = all images are one video."
                ),
                integer(
                    "columns",
                    8,
                    (1, 64),
                    "Frames shown of each video, evenly chosen from first to last.",
                ),
                integer(
                    "height", 128, (16, 1024), "Height of a frame in pixels; the width follows."
                ),
                io.String.Input(
                    "labels",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="One line for each video, written at the left of its row.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    @checked
    def execute(
        cls, images: Tensor, num_frames: int, columns: int, height: int, labels: str = ""
    ) -> io.NodeOutput:
        return io.NodeOutput(make_strip(images, num_frames, columns, height, labels))


def make_strip(images: Tensor, num_frames: int, columns: int, height: int, labels: str) -> Tensor:
    """Frames `[N*T, H, W, C]` as one picture `[1, H', W', 3]`. num_frames: T, or 0 for all.

    Raises InputError for a part of a video, ValueError for more labels than videos and for a
    picture that is too large.
    """
    videos = to_videos(images[..., :3], num_frames or len(images), "images")
    return frame_strip(videos, columns, height, labels.rstrip().splitlines()).movedim(0, -1)[None]


NODES = [FrameStrip]
