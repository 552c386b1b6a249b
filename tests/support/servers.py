"""ComfyUI servers with the pack."""

from pathlib import Path

from comfy_server import ComfyServer


def pack_server(comfyui: Path, root: Path, base: Path) -> ComfyServer:
    """A server with the pack and the tests' own nodes, not yet started."""
    support = root / "tests" / "nodes" / "support_pack"
    return ComfyServer(
        comfyui, base, packs=[root, support], extra_args=["--fp32-text-enc"], cpu=True
    )
