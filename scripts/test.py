"""Runs the tests: sets up all they need, then pytest; arguments are passed on.

    python3 scripts/test.py
    python3 scripts/test.py -k sampler -x

Without arguments the files are shared by as many processes as there are cores, up to 4.

`COMFYUI_PATH` names the ComfyUI to test with, `COMFYUI_RELEASE` a pinned release (0.30.0 is the
default). The tests find the ComfyUI that was chosen in `COMFYUI_PATH`.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - said here, before newer syntax is met
    sys.exit("This needs Python 3.10 or newer; run it with another python3.")

import os
import signal
import subprocess

from comfyui.cache import SetupError
from comfyui.setup import PACK, find_host, install_tools

# Each starts a server of its own, of about 1.5 GB.
MAX_WORKERS = 4

BY_FILE = ("--dist", "loadfile", "--no-loadscope-reorder")

# `python -m pytest` would put the checkout on sys.path, where its `nodes` hides ComfyUI's. A job in
# a shell's background ignores SIGINT, which here has to end the tests in order.
_RUN_PYTEST = """
import signal, sys
del sys.path[0]
signal.signal(signal.SIGINT, signal.default_int_handler)
import pytest
raise SystemExit(pytest.main())
"""


def main() -> int:
    """Returns pytest's exit status, or 1 when the set-up fails."""
    try:
        host = find_host()
        tools = install_tools(host)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    paths = [str(tools), *filter(None, [os.environ.get("PYTHONPATH")])]
    cores = os.cpu_count() or 1
    workers = min(cores, MAX_WORKERS)
    arguments = sys.argv[1:] or ["-n", str(workers), *BY_FILE]
    process = subprocess.Popen(
        [str(host.python), "-c", _RUN_PYTEST, *arguments],
        cwd=PACK,
        env={
            # Threads of more processes than there are cores would wait for one another.
            "OMP_NUM_THREADS": str(max(1, cores // workers)),
            **os.environ,
            "COMFYUI_PATH": str(host.comfyui),
            "PYTHONPATH": os.pathsep.join(paths),
        },
    )
    # pytest ends its servers on SIGINT, not on SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # The terminal has signalled pytest, too.


if __name__ == "__main__":
    sys.exit(main())
