"""Everything that adapts the model to ComfyUI and is not itself a node."""
