"""Motion Amount: one dial for how much moves.

Source: docs/motion.md#the-dial.
"""

from typing import NamedTuple

from comfy_api.latest import io

from ..dc_model.motion.dial import MEANS, amount
from .checks import InputError
from .door import checked
from .host.guider import require_model
from .host.protocols import Model
from .image_lambda import scale_gates
from .inputs import CATEGORY, patched_model_input, real


class Dialled(NamedTuple):
    """A MODEL with its lambda, a speed for Visual Detail Guidance, a timestep for the sampler."""

    model: Model
    fps: int
    start_timestep: int


def dial(model: Model, motion: float, means: str) -> Dialled:
    """What a MODEL's `motion`, -1 to 1, comes to; at 0 the model is the given one.

    Raises InputError where the model lacks the one thing that `means` sets.
    """
    inner = require_model(model)
    found, arch = amount(inner.variant, motion, means), inner.arch
    has = {"lambda": arch.image_cross_attention, "speed": arch.speed_condition}
    if motion != 0 and not has.get(means, True):
        raise InputError(f"This model has no {means}; set means to all, which sets what it has.")
    turns = found.middle != 1 and has["lambda"]
    scaled = scale_gates(model, 1.0, found.middle, "") if turns else model
    return Dialled(scaled, found.speed, found.start_timestep)


class MotionAmount(io.ComfyNode):
    """Sets speed, lambda and starting timestep from one number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterMotionAmount",
            display_name="DynamiCrafter Motion Amount",
            search_aliases=["motion scale", "more motion", "less motion", "motion bucket"],
            category=f"{CATEGORY}/motion",
            description="One dial for how much moves. It sets what this model has for it: speed, "
            "lambda in the middle layers and the starting timestep.",
            inputs=[
                patched_model_input(),
                real(
                    "motion",
                    0.0,
                    (-1.0, 1.0),
                    "1 = most motion, -1 = calmest, 0 = the model as it is. The ends are "
                    "the published range's, or ours where none is published.",
                    step=0.05,
                ),
                io.Combo.Input(
                    "means",
                    options=list(MEANS),
                    default="all",
                    tooltip="What the dial sets. speed: fps or frame stride. lambda: the middle "
                    "layers. start: the timestep where sampling starts, only for more motion.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Int.Output(display_name="fps"),
                io.Int.Output(display_name="start_timestep"),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: Model, motion: float, means: str) -> io.NodeOutput:
        return io.NodeOutput(*dial(model, motion, means))


NODES = [MotionAmount]
