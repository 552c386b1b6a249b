"""The demo's command line, and what can be seen to be wrong with it before any long work."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from comfyui.setup import PACK
from embedded_examples import EXAMPLES as LESSONS
from shipped.names import PREFIX, TITLES

CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
ASSETS = PACK / "assets"
EMBEDDED = PACK / "assets" / "demo" / "small_world.safetensors"
# Workflows that load more files than a checkpoint.
MORE_FILES = ("pruned", "sketch")


class DemoError(RuntimeError):
    """The demo cannot continue; the message is one sentence for the user."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:]}; see --help.\n")


def parse(arguments: list[str] | None = None, description: str = "") -> argparse.Namespace:
    """The command line; ends the program with one sentence when it is wrong."""
    names = "\n".join(f"  {short:20} {title}" for short, title in TITLES.items())
    parser = _Parser(
        description=description,
        epilog=f"workflows:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--image", type=Path, metavar="PATH", help="the picture to animate; else an example")
    add("--prompt", metavar="TEXT", help="what happens in the video; else the example's")
    add("--end-image", type=Path, metavar="PATH", help="the picture to arrive at")
    add("--checkpoint", type=Path, metavar="PATH", help="a DynamiCrafter checkpoint")
    add("--workflow", default="animate", metavar="NAME", help="a name from the list below")
    add("--seed", type=_at_least(0), metavar="N")
    add("--steps", type=_at_least(1), metavar="N")
    add("--width", type=_at_least(8), metavar="N", help="pixels, a multiple of 8")
    add("--height", type=_at_least(8), metavar="N", help="pixels, a multiple of 8")
    add("--frames", type=_at_least(1), metavar="N")
    add("--fps", type=_at_least(0), metavar="N", help="the speed for the model; 0: its own")
    add("--output", type=Path, default=PACK / "output", metavar="DIR", help="where results go")
    add("--comfyui", type=Path, metavar="DIR", help="the ComfyUI to use")
    add("--keep-server", action="store_true", help="leave the server running until Ctrl-C")
    return parser.parse_args(arguments)


def check(options: argparse.Namespace) -> None:
    """Raises DemoError for what can be seen to be wrong before any long work."""
    for flag, path in (("--image", options.image), ("--end-image", options.end_image)):
        if path is not None and not path.is_file():
            raise DemoError(f"{flag}: there is no file {path}; give the path of a picture.")
    if options.checkpoint is not None:
        if not options.checkpoint.is_file():
            raise DemoError(f"--checkpoint: there is no file {options.checkpoint}.")
        if options.checkpoint.suffix.lower() not in CHECKPOINT_SUFFIXES:
            raise DemoError(
                f"--checkpoint: {options.checkpoint.name} is not a checkpoint file; expected a "
                f"name that ends in {', '.join(CHECKPOINT_SUFFIXES)}."
            )
    for flag in ("width", "height"):
        value = getattr(options, flag)
        if value is not None and value % 8:
            raise DemoError(f"--{flag}: {value} is not a multiple of 8; take {value // 8 * 8}.")
    check_workflow(workflow_name(options.workflow), options.checkpoint)
    check_output(options.output)


def check_output(folder: Path) -> None:
    """Raises DemoError when results could not be written to `folder`, which need not exist."""
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not place.is_dir():
        raise DemoError(f"--output: {place} is a file; give a folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise DemoError(f"--output: {place} may not be written to; give another folder.")


def workflow_name(name: str) -> str:
    """A shipped workflow's short name, by that name or by its title or file name."""
    title = name.removesuffix(".json").removeprefix(PREFIX)
    for short, known in TITLES.items():
        if name == short or title.lower() == known.lower():
            return short
    choices = ", ".join(TITLES)
    raise DemoError(f"--workflow: there is no workflow {name!r}; choose one of {choices}.")


def check_workflow(short: str, checkpoint: Path | None) -> None:
    """Raises DemoError for a workflow that the demo cannot run."""
    if short in MORE_FILES:
        raise DemoError(
            f"--workflow {short}: it loads more files than a checkpoint; open it in ComfyUI."
        )
    if checkpoint is None and short not in LESSONS:
        raise DemoError(
            f"--workflow {short}: it needs a published checkpoint; give one with --checkpoint."
        )


def _at_least(smallest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value} is less than {smallest}")
        return value

    number.__name__ = "whole number"
    return number
