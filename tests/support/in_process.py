"""The pack's nodes as the package `pack` in this process: the host's modules, but no server."""

import os
import sys
from types import ModuleType

from checkout import ROOT


def import_pack() -> bool:
    """Make `pack.nodes` and `pack.dc_model` importable; False where there is no ComfyUI.

    The pack's own `__init__` would ask the host for its server. What comes with the host stands at
    the end of the path and hides nothing.
    """
    host = os.environ.get("COMFYUI_PATH")
    if not host:
        return False
    if "pack" not in sys.modules:
        sys.path.append(host)
        import comfy.cli_args

        comfy.cli_args.args.cpu = True
        package = ModuleType("pack")
        package.__path__ = [str(ROOT)]
        sys.modules["pack"] = package
    return True
