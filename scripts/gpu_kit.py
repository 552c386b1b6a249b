"""A kit for a machine with a GPU and no network: tests, benchmark and full-size runs, in 9 minutes.

    python3 scripts/gpu_kit.py pack output/gpu_kit          here: makes the folder, 63 MB
    python gpu_kit/checkout/scripts/gpu_kit.py run report   there: writes report.json, report.txt
    python3 scripts/gpu_kit.py run --cpu --quick report     here: the same with tiny networks

The machine there needs PyTorch with CUDA on Python 3.12, and what PyTorch's users mostly have:
transformers, safetensors, einops, aiohttp, NumPy, SciPy, Pillow, psutil, pytest, tqdm and PyYAML.
The kit brings the rest as wheels, ComfyUI's source, and this checkout. Nothing is installed: all is
unpacked into a temporary folder. Full-size weights are random, written there; they take 11 GB of
disk. What does not fit into the time is left out, and the report says so.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - said here, before newer syntax is met
    sys.exit("This needs Python 3.10 or newer; run it with another python3.")

import argparse
import signal
from pathlib import Path

from comfyui.cache import SetupError
from gpu_kit_pack import pack
from gpu_kit_run import PARTS, run

MINUTES = 9.0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packs = commands.add_parser("pack", help="make the kit's folder")
    packs.add_argument("folder", type=Path)
    runs = commands.add_parser("run", help="run all and write the report")
    add = runs.add_argument
    add("report", type=Path, help="folder of report.json and report.txt")
    add("--cpu", action="store_true", help="without a GPU")
    add("--quick", action="store_true", help="tiny networks and few steps: a dry run")
    add("--parts", nargs="+", choices=PARTS, default=PARTS)
    add("--minutes", type=float, default=MINUTES, help="what does not fit is left out")
    return parser.parse_args(arguments)


def main() -> int:
    """Returns 1 when a part failed or the kit could not start."""
    options = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.command == "pack":
            print(pack(options.folder))
            return 0
        report = run(
            options.report,
            cpu=options.cpu,
            quick=options.quick,
            parts=options.parts,
            minutes=options.minutes,
        )
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the report holds what was done before.", file=sys.stderr)
        return 130
    return 0 if report.whole else 1


if __name__ == "__main__":
    sys.exit(main())
