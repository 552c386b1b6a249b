"""Lets a script begin in any Python and continue in the one that runs ComfyUI."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

# What scripts import of all that comes with ComfyUI.
_NEEDED = ("aiohttp", "av", "PIL")
# The portable build's Python does not look into the folder of the script that it runs.
_RUN = """
import runpy, sys
from pathlib import Path
del sys.argv[0]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def continue_under(python: Path) -> None:
    """Runs this script again, from its start, in ComfyUI's Python, where that is needed.

    Returns where all packages are there already; otherwise never.
    """
    if all(map(importlib.util.find_spec, _NEEDED)):
        return
    command = [str(python), "-c", _RUN, str(Path(sys.argv[0]).absolute()), *sys.argv[1:]]
    sys.stdout.flush()
    if os.name == "nt":  # There, a program that replaces another lets the shell continue at once.
        sys.exit(subprocess.call(command))
    os.execv(python, command)
