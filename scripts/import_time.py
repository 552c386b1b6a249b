"""How long ComfyUI takes to import the pack, beside other checkouts of it.

    python3 scripts/import_time.py [CHECKOUT ...] [--repeats 20]

Each import happens in a process of its own, after the host's modules and with bytecode cached, as
at every start but the first. The checkouts take turns.
"""

import argparse
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfyui.setup import PACK, Host, find_host

# What ComfyUI has imported before it comes to its custom nodes.
HOST_MODULES = (
    *("nodes", "comfy_api.latest", "comfy.samplers", "comfy.controlnet"),
    "comfy_extras.nodes_custom_sampler",
)
INSIDE = "--inside"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", nargs="*", type=Path, help="others to compare with")
    parser.add_argument("--repeats", type=int, default=20, help="at least 1")
    parser.add_argument("--comfyui", metavar="DIR", help="the ComfyUI to use")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; give 1 or more.")
    packs = [PACK, *(path.resolve() for path in options.checkouts)]
    for line in report(measure(find_host(options.comfyui), packs, options.repeats)):
        print(line)


def measure(host: Host, packs: Sequence[Path], repeats: int) -> dict[Path, list[float]]:
    """Milliseconds of `repeats` imports of each pack, in turns; a first one fills the cache."""
    found: dict[Path, list[float]] = {pack: [] for pack in packs}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(repeats + 1):
            for pack in packs:
                command = [host.python, __file__, INSIDE, host.comfyui, pack]
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{pack} cannot be imported:\n{done.stderr}")
                if turn:
                    found[pack].append(float(done.stdout.split()[-1]))
    return found


def report(found: dict[Path, list[float]]) -> Iterator[str]:
    """A line for each pack: median, range, and the median as a ratio to the first one's."""
    first = statistics.median(next(iter(found.values())))
    for pack, times in found.items():
        middle = statistics.median(times)
        yield (
            f"{middle:6.1f} ms ({min(times):.1f} to {max(times):.1f}), {middle / first:.2f}: {pack}"
        )


def import_pack(comfyui: Path, pack: Path) -> float:
    """Milliseconds that this process takes to import a pack, with the host's modules there."""
    sys.path.insert(0, str(comfyui))
    sys.argv[1:] = ["--cpu"]
    options = importlib.import_module("comfy.options")
    options.enable_args_parsing()
    for name in HOST_MODULES:
        importlib.import_module(name)
    spec = importlib.util.spec_from_file_location("pack", pack / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{pack / '__init__.py'} is not Python code.")
    module = sys.modules["pack"] = importlib.util.module_from_spec(spec)
    gc.disable()  # a pass over all that the host made falls into one import or the other
    start = time.perf_counter()
    spec.loader.exec_module(module)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        print(import_pack(*map(Path, sys.argv[2:])))
    else:
        main()
