"""The pack's nodes: a module for each stage of the graph, in `NODES` of each.

`inputs`, `checks`, `door` and `metrics` hold what stages share; `host/` adapts to ComfyUI.
"""

from pathlib import Path

from comfy_api.latest import ComfyExtension, io

from . import (
    analytic_init,
    camera_motion,
    color_match,
    context,
    decode,
    drag_motion,
    extend,
    frame_strip,
    image_lambda,
    load,
    motion_amount,
    pic,
    pin_first_frame,
    prior_guider,
    prompt_schedule,
    reference_motion,
    sampling,
    sketch,
    storyboard,
    video_distance,
    visual_detail,
)
from .host.pack_folder import warn_of_folder
from .host.replacements import register_replacements

# As ComfyUI names it: a symbolic link is not followed.
FOLDER = Path(__file__).parents[1].name

STAGES = (
    load,
    context,
    visual_detail,
    prompt_schedule,
    extend,
    sketch,
    image_lambda,
    pin_first_frame,
    drag_motion,
    camera_motion,
    reference_motion,
    motion_amount,
    analytic_init,
    sampling,
    prior_guider,
    decode,
    color_match,
    storyboard,
    pic,
    video_distance,
    frame_strip,
)


class DynamiCrafterExtension(ComfyExtension):
    """What the host asks for the pack's nodes."""

    async def on_load(self) -> None:
        warn_of_folder(FOLDER)
        video_distance.register_folder()
        await register_replacements()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for stage in STAGES for node in stage.NODES]


async def comfy_entrypoint() -> DynamiCrafterExtension:
    """The host's way in."""
    return DynamiCrafterExtension()
