"""The pack's nodes; each module is one stage of the flow."""

from comfy_api.latest import ComfyExtension, io

from . import (
    analytic_init,
    color,
    conformity,
    context,
    decode,
    detail,
    extend,
    first_frame,
    gate,
    loader,
    sampling,
    schedule_text,
    sketch,
    story,
    video_distance,
)

STAGES = (
    loader,
    context,
    detail,
    schedule_text,
    extend,
    sketch,
    gate,
    first_frame,
    analytic_init,
    sampling,
    decode,
    color,
    story,
    conformity,
    video_distance,
)


class DynamiCrafterExtension(ComfyExtension):
    """What the host asks for the pack's nodes."""

    async def on_load(self) -> None:
        video_distance.register_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for stage in STAGES for node in stage.NODES]


async def comfy_entrypoint() -> DynamiCrafterExtension:
    """The host's way in."""
    return DynamiCrafterExtension()
