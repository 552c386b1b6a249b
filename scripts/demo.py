"""Animates an image: sets up all it needs, runs a shipped workflow on a real ComfyUI server.

    python3 scripts/demo.py
    python3 scripts/demo.py --image assets/small_world_square.png
    python3 scripts/demo.py --image boat.jpg --prompt "a boat in a storm" \\
        --checkpoint dynamicrafter_512.ckpt

Needs Python 3.10 or newer and nothing else. Writes a video (.mp4), an animation (.webp) and a
contact sheet (.png) and prints their paths last. Without --checkpoint it runs a tiny model that
knows 64 x 64 pictures of one coloured object and nothing else (docs/demo_model.md). Its examples
are assets/small_world_circle.png, which it takes without --image, small_world_square.png and
small_world_cross.png; each has its own words. The model knows others, for instance
--prompt "a blue square moves up".
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - said here, before newer syntax is met
    sys.exit("This needs Python 3.10 or newer; run it with another python3.")

import signal

from comfyui.cache import SetupError
from comfyui.client import ServerError
from comfyui.rerun import continue_under
from comfyui.setup import find_host
from comfyui.workflow_api import WorkflowError
from demo_options import DemoError, check, parse


def main() -> int:
    """Returns the exit status."""
    options = parse(description=__doc__ or "")
    stop_on_signals()
    try:
        check(options)
        host = find_host(options.comfyui)
        continue_under(host.python)
        from demo_run import run  # It needs what ComfyUI brings.

        for path in run(options, host):
            print(path)
    except (DemoError, SetupError, ServerError, WorkflowError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; nothing is left behind.", file=sys.stderr)
        return 130
    return 0


def stop_on_signals() -> None:
    """Lets `kill` and a closed terminal stop the demo as Ctrl-C does, with all that it started."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
