"""ComfyUI servers with the pack."""

import os
from pathlib import Path

from comfyui.server import ComfyServer


def pack_server(comfyui: Path, root: Path, base: Path, *extra_args: str) -> ComfyServer:
    """A server with the pack and the tests' own nodes, not yet started."""
    support = root / "tests" / "server" / "support_pack"
    arguments = ["--fp32-text-enc", *extra_args, *page_arguments()]
    return ComfyServer(comfyui, base, packs=[root, support], extra_args=arguments, cpu=True)


def page_arguments() -> list[str]:
    """`COMFYUI_FRONTEND` names the folder of another page than the host's Python has."""
    page = os.environ.get("COMFYUI_FRONTEND")
    return ["--front-end-root", page] if page else []
