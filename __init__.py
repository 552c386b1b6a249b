"""DynamiCrafter for ComfyUI."""

# Test runners import this file on its own, where relative imports cannot work.
if __package__:
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
