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

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from comfyui.cache import SetupError, say
from comfyui.client import ServerError
from comfyui.server import ComfyServer, link_checkpoint
from comfyui.setup import PACK, SCRIPTS, Host, find_host
from comfyui.workflow_api import WorkflowError, to_api
from comfyui.workflow_settings import (
    Prompt,
    pictures,
    set_all_pictures,
    set_all_words,
    set_end_image,
    set_image,
    set_value,
    set_words,
)
from embedded_examples import EXAMPLES as LESSONS
from embedded_examples import SETTINGS as EMBEDDED_SETTINGS
from shipped.names import PREFIX, TITLES, file_name

CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
SETTINGS = ("seed", "steps", "width", "height", "frames", "fps")
ASSETS = PACK / "assets"
EMBEDDED = PACK / "assets" / "demo" / "small_world.safetensors"
# What the embedded model was trained on (docs/demo_model.md).
EXAMPLES = {
    ASSETS / "small_world_circle.png": "a large red circle moves left on a plain background",
    ASSETS / "small_world_square.png": "a blue square falls down on a gradient background",
    ASSETS / "small_world_cross.png": "a yellow cross becomes larger on a plain background",
}
# For pictures whose object we cannot know.
MOTION_ALONE = "moves left"
# ComfyUI's own picture, which the shipped workflows load, and the folder that one of them loads.
HOST_PICTURE, PICTURE_FOLDER = "example.png", "pictures"
# Workflows that load more files than a checkpoint.
MORE_FILES = ("pruned", "sketch")


class DemoError(RuntimeError):
    """The demo cannot continue; the message is one sentence for the user."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:]}; see --help.\n")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; ends the program with one sentence when it is wrong."""
    names = "\n".join(f"  {short:20} {title}" for short, title in TITLES.items())
    parser = _Parser(
        description=__doc__,
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


def main() -> int:
    """Returns the exit status."""
    options = parse()
    stop_on_signals()
    try:
        check(options)
        host = find_host(options.comfyui)
        check_pictures(host, [*filter(None, [options.image, options.end_image])])
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


def check_pictures(host: Host, pictures: list[Path]) -> None:
    """Raises DemoError for a broken picture."""
    result = _media(host, "check", *map(str, pictures))
    if result.returncode:
        raise DemoError(result.stdout.strip() or _last_line(result.stderr))


def run(options: argparse.Namespace, host: Host) -> list[Path]:
    """Runs the workflow and returns what it wrote."""
    checkpoint = options.checkpoint or EMBEDDED
    if options.checkpoint is None:
        say(
            "No --checkpoint: this runs a tiny model that knows 64 x 64 pictures of one coloured "
            "object and nothing else; see README.md for the published ones."
        )
    say(f"Starting ComfyUI from {host.comfyui} ...")
    with ComfyServer(host.comfyui, packs=[PACK], python=host.python) as server:
        version = server.system_stats()["system"].get("comfyui_version", "")
        say(f"ComfyUI {version} runs at {server.url}")
        link_checkpoint(checkpoint, server.base / "models" / "checkpoints")
        prompt = make_prompt(options, server, checkpoint.name)
        started = time.monotonic()
        outputs = server.prompt(prompt, on_progress=Progress(prompt))
        say(f"Done in {time.monotonic() - started:.0f} s.")
        paths = write_results(options, host, server, outputs)
        if options.keep_server:
            print(*paths, sep="\n", flush=True)
            say(f"The server keeps running at {server.url} until Ctrl-C.")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(1)
    return paths


def make_prompt(options: argparse.Namespace, server: ComfyServer, checkpoint: str) -> Prompt:
    """The workflow as a prompt, with the flags' settings."""
    short = workflow_name(options.workflow)
    path = PACK / "workflows" / file_name(short)
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), server.object_info())
    set_value(prompt, "checkpoint", checkpoint)
    if options.checkpoint is None:
        set_embedded(prompt, server, options)
    else:
        bring_pictures(prompt, server, options.image)
    if options.image is not None and pictures(prompt):
        set_image(prompt, server.upload_image(options.image))
    if options.end_image is not None:
        name = f"end-{options.end_image.name}"
        set_end_image(prompt, server.upload_image(options.end_image, name))
    if options.prompt is not None:
        set_words(prompt, options.prompt)
    for setting in SETTINGS:
        value = getattr(options, setting)
        if value is not None:
            set_value(prompt, setting, value)
    return prompt


def bring_pictures(prompt: Prompt, server: ComfyServer, image: Path | None) -> None:
    """Gives the server the pictures that the workflow names. Raises DemoError without one."""
    folder = any(node["inputs"].get("folder") == PICTURE_FOLDER for node in prompt.values())
    if not folder and HOST_PICTURE not in pictures(prompt):
        return
    shown = server.comfyui / "input" / HOST_PICTURE
    if image is None and not shown.is_file():
        raise DemoError(f"--image: this ComfyUI has no {HOST_PICTURE}; give a picture.")
    if shown.is_file():
        server.upload_image(shown)
    if folder:
        fill_folder(server, [image or shown])


def fill_folder(server: ComfyServer, files: list[Path]) -> None:
    """Makes the folder of pictures that a workflow loads."""
    folder = server.base / "input" / PICTURE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def set_embedded(prompt: Prompt, server: ComfyServer, options: argparse.Namespace) -> None:
    """Pictures, words and settings from the embedded model's world."""
    lesson = LESSONS[workflow_name(options.workflow)]
    files = [ASSETS / name for name in lesson.pictures]
    set_all_pictures(prompt, [server.upload_image(file) for file in files])
    fill_folder(server, files if options.image is None else [options.image])
    if options.prompt is None:
        own = options.image is None
        texts = lesson.prompts if own else (embedded_words(options.image),)
        set_all_words(prompt, texts)
        lines = [line for text in texts for line in text.splitlines()]
        quoted = ", then ".join(f'"{line}"' for line in lines)
        say(f"No --prompt: the words are {quoted}.")
        if texts == (MOTION_ALONE,):
            say("Name colour, shape and motion for a better video: see --help.")
    for node in prompt.values():
        for name in (node["class_type"], node["_meta"]["title"]):
            node["inputs"].update(lesson.inputs.get(name, {}))
    for setting, value in {**EMBEDDED_SETTINGS, **lesson.settings}.items():
        with contextlib.suppress(WorkflowError):
            set_value(prompt, setting, value)


def embedded_words(image: Path | None) -> str:
    """The words for a picture that comes without any; None: for the first example."""
    if image is None:
        return next(iter(EXAMPLES.values()))
    return EXAMPLES.get(image.resolve(), MOTION_ALONE)


class Progress:
    """Prints what the server says it does: each node, and the steps of the long ones."""

    def __init__(self, prompt: Prompt) -> None:
        self._titles = {node_id: node["_meta"]["title"] for node_id, node in prompt.items()}
        self._started = time.monotonic()
        self._tenth = -1

    def __call__(self, node_id: str, value: int, maximum: int) -> None:
        title = self._titles.get(node_id, node_id)
        if not maximum:
            self._tenth = -1
            say(f"  {title}")
        elif value * 10 // maximum != self._tenth:
            self._tenth = value * 10 // maximum
            bar = "#" * self._tenth + "." * (10 - self._tenth)
            say(f"  {title} [{bar}] {value}/{maximum}, {time.monotonic() - self._started:.0f} s")


def write_results(
    options: argparse.Namespace, host: Host, server: ComfyServer, outputs: dict[str, Any]
) -> list[Path]:
    """Fetches the video, makes the animation and the contact sheet; all three or none."""
    saved = saved_videos(outputs)
    if not saved:
        raise DemoError(f"The workflow {options.workflow} has not saved an .mp4.")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.output, prefix=".writing-") as work:
            files = [Path(work, f"result.{suffix}") for suffix in ("mp4", "webp", "png")]
            files[0].write_bytes(server.view(**saved[0]))
            result = _media(host, "sheet", *map(str, files))
            if result.returncode:
                raise DemoError(f"The video cannot be read: {_last_line(result.stderr)}.")
            name = options.image.stem if options.image else workflow_name(options.workflow)
            stem = free_stem(options.output, name)
            return [file.replace(f"{stem}{file.suffix}") for file in files]
    except OSError as error:
        raise DemoError(f"--output: {options.output} cannot be written: {error}.") from error


def saved_videos(outputs: dict[str, Any]) -> list[dict[str, str]]:
    """Where the server has put the prompt's videos."""
    return [
        entry
        for output in outputs.values()
        for entries in output.values()
        if isinstance(entries, list)
        for entry in entries
        if isinstance(entry, dict) and str(entry.get("filename", "")).endswith(".mp4")
    ]


def free_stem(folder: Path, name: str) -> Path:
    """`folder/name-0001`, with the first number that nothing there has."""
    number = 1
    while any(folder.glob(f"{name}-{number:04d}.*")):
        number += 1
    return folder / f"{name}-{number:04d}"


def _media(host: Host, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(host.python), str(SCRIPTS / "comfyui" / "media.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def _at_least(smallest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value} is less than {smallest}")
        return value

    number.__name__ = "whole number"
    return number


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
