"""Which of our loaders take the place of other packs' loaders, where those packs are absent.

ComfyUI replaces a node only when no installed pack has its id, in prompts and in the page alike.
scripts/convert_workflow.py does the nodes that become several of ours. Source:
docs/coming_from_other_packs.md.
"""

from comfy_api.latest import ComfyAPI, io

_LOADER = "DynamiCrafterCheckpointLoader"
# Their id: ours, their widgets in order, the one that names the file, our widget for it, the rest.
_REPLACEMENTS = {
    "DynamiCrafterModelLoader": (
        _LOADER,
        ["ckpt_name", "dtype", "fp8_unet"],
        ("ckpt_name", "ckpt_name"),
        {"variant": "auto", "weight_dtype": "default"},
    ),
    "DownloadAndLoadCLIPModel": (
        "CLIPLoader",
        ["model"],
        ("model", "clip_name"),
        {"type": "stable_diffusion"},
    ),
    "DownloadAndLoadCLIPVisionModel": ("CLIPVisionLoader", ["model"], ("model", "clip_name"), {}),
}


async def register_replacements() -> None:
    """Registers them, where the host supports it."""
    registry = getattr(ComfyAPI(), "node_replacement", None)
    if registry is None or not hasattr(io, "NodeReplace"):
        return
    for theirs, (ours, widgets, (old, new), values) in _REPLACEMENTS.items():
        fixed = [{"new_id": name, "set_value": value} for name, value in values.items()]
        await registry.register(
            io.NodeReplace(
                new_node_id=ours,
                old_node_id=theirs,
                old_widget_ids=widgets,
                input_mapping=[{"new_id": new, "old_id": old}, *fixed],
                output_mapping=[{"new_idx": 0, "old_idx": 0}],
            )
        )
