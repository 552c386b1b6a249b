"""Pin First Frame: the video keeps the given image, not one that resembles it."""

from comfy_api.latest import io

from .checks import InputError
from .door import checked
from .host import keys
from .host.guider import require_model
from .host.options import with_transformer_option
from .host.protocols import Model
from .inputs import CATEGORY, patched_model_input

FRAMES = ["first", "given"]


def pin_frames(model: Model, frames: str) -> Model:
    """A clone of a MODEL that holds `frames` to their images; InputError when it takes none."""
    if not require_model(model).arch.takes_image:
        raise InputError(
            "This model takes no image beside the noise, so there is no frame to pin; load an "
            "image-to-video checkpoint."
        )
    return with_transformer_option(model, keys.PINNED_FRAMES, frames)


class PinFirstFrame(io.ComfyNode):
    """Holds the first frame, or all given ones, to the image while sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterPinFirstFrame",
            display_name="DynamiCrafter Pin First Frame",
            search_aliases=["keep first frame", "hold frame"],
            category=f"{CATEGORY}/model",
            description="Keeps the first frame identical to your image, apart from VAE loss. "
            "Works with every sampler.",
            inputs=[
                patched_model_input(),
                io.Combo.Input(
                    "frames",
                    options=FRAMES,
                    default="first",
                    tooltip="first: only the first frame. given: also the other frames with an "
                    "image, in modes interpolate, loop and keyframes.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    @checked
    def execute(cls, model: Model, frames: str) -> io.NodeOutput:
        return io.NodeOutput(pin_frames(model, frames))


NODES = [PinFirstFrame]
