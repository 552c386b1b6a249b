"""Color Match: a video in the colours of its input."""

from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.video.color_match import match_colors
from .door import checked
from .inputs import CATEGORY, real


class ColorMatch(io.ComfyNode):
    """Takes the colours of a reference image over into the video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterColorMatch",
            display_name="DynamiCrafter Color Match",
            search_aliases=["color correction", "colour match", "color drift"],
            category=f"{CATEGORY}/image",
            description="Restores the input image's colours in a video whose colours drifted.",
            inputs=[
                io.Image.Input("images", tooltip="The video's frames."),
                io.Image.Input(
                    "reference",
                    tooltip="The image whose colours to take, such as the input; or one image for "
                    "each frame.",
                ),
                io.Combo.Input(
                    "method",
                    options=["mean_std", "covariance", "histogram"],
                    default="mean_std",
                    tooltip="mean_std: matches brightness and contrast per channel. covariance: "
                    "also how channels vary together. histogram: the whole distribution, the "
                    "strongest.",
                ),
                io.Combo.Input(
                    "source",
                    options=["each_frame", "first_frame"],
                    default="each_frame",
                    tooltip="each_frame: corrects every frame by itself. first_frame: applies the "
                    "first frame's correction to all, which keeps changes of light.",
                ),
                real("strength", 1.0, (0.0, 1.0), "0 = no change, 1 = full match.", step=0.05),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    @checked
    def execute(
        cls, images: Tensor, reference: Tensor, method: Any, source: Any, strength: float
    ) -> io.NodeOutput:
        bar = comfy.utils.ProgressBar(len(images))

        def on_frame() -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update(1)

        matched = match_colors(images, reference, method, source, strength, on_frame)
        return io.NodeOutput(matched)


NODES = [ColorMatch]
