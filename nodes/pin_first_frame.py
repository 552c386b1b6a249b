"""Pin First Frame: the video keeps the given image, not one that resembles it."""

from typing import Any

from comfy_api.latest import io

from .checks import InputError
from .door import checked
from .host import keys
from .host.guider import require_model
from .inputs import CATEGORY

FRAMES = ["first", "given"]


class PinFirstFrame(io.ComfyNode):
    """Holds the first frame, or all given ones, to the image while sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterPinFirstFrame",
            display_name="DynamiCrafter Pin First Frame",
            search_aliases=["keep first frame", "hold frame"],
            category=f"{CATEGORY}/model",
            description="Holds the first frame to the given image while sampling, so that it comes "
            "out as the image itself (but for the VAE). Works with every sampler.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model; it stays as it is."),
                io.Combo.Input(
                    "frames",
                    options=FRAMES,
                    default="first",
                    tooltip="first: only the first frame. given: every frame that has an image in "
                    "the modes interpolate, loop and keyframes.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    @checked
    def execute(cls, model: Any, frames: str) -> io.NodeOutput:
        if not require_model(model).arch.takes_image:
            raise InputError(
                "This model takes no image beside the noise, so there is no frame to pin; load an "
                "image-to-video checkpoint."
            )
        clone = model.clone()
        options = {**clone.model_options.get("transformer_options", {}), keys.PINNED_FRAMES: frames}
        clone.model_options["transformer_options"] = options
        return io.NodeOutput(clone)


NODES = [PinFirstFrame]
