"""ComfyUI servers with the pack."""

import os
from pathlib import Path

from comfyui.server import ComfyServer


def pack_server(comfyui: Path, root: Path, base: Path, *extra_args: str) -> ComfyServer:
    """A server with the pack and the tests' own nodes, not yet started.

    `COMFYUI_FRONTEND` names the folder of another page than the host's Python has.
    """
    support = root / "tests" / "server" / "support_pack"
    arguments = ["--fp32-text-enc", *extra_args]
    if page := os.environ.get("COMFYUI_FRONTEND"):
        arguments += ["--front-end-root", page]
    return ComfyServer(comfyui, base, packs=[root, support], extra_args=arguments, cpu=True)
