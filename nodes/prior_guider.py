"""Prior Guider: a second model's prediction in place of the unconditional one.

Source: docs/motion.md#the-prior.
"""

from typing import Any

from comfy_api.latest import io

from .door import checked
from .host.guider import Guidance
from .host.prior import build_prior_guider
from .host.protocols import Conditioning, Model
from .inputs import CATEGORY, guidance_inputs, prompt_inputs, real


class PriorGuiderNode(io.ComfyNode):
    """Guidance with the unconditional branch of another model, for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        cfg, _, rescale = guidance_inputs()
        return io.Schema(
            node_id="DynamiCrafterPriorGuider",
            display_name="DynamiCrafter Prior Guider",
            search_aliases=["unconditional prior", "two models", "negative model"],
            category=f"{CATEGORY}/sampling",
            description="Guides away from what a second model, such as VideoCrafter 2, makes "
            "without words. For SamplerCustomAdvanced.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model."),
                io.Model.Input(
                    "prior",
                    tooltip="A model of the family from a loader of its own, best a text-to-video "
                    "one. Both are in memory at once.",
                ),
                *prompt_inputs(),
                cfg,
                rescale,
                real(
                    "prior_strength",
                    1.0,
                    (0.0, 1.0),
                    "1 = the prior alone, 0 = the model's own unconditional prediction, "
                    "between = a mix of both, which takes longer.",
                    step=0.01,
                ),
            ],
            outputs=[io.Guider.Output(display_name="GUIDER")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Model,
        prior: Any,
        positive: Conditioning,
        negative: Conditioning,
        cfg: float,
        guidance_rescale: float,
        prior_strength: float,
    ) -> io.NodeOutput:
        guidance = Guidance(cfg, cfg, guidance_rescale)
        return io.NodeOutput(
            build_prior_guider(model, prior, positive, negative, guidance, prior_strength)
        )


NODES = [PriorGuiderNode]
