"""Commands; `scripts.comfyui` is what they and others share."""
