"""The demo's run: on a server of its own, from the given pictures to the files that it writes."""

import argparse
import contextlib
import glob
import tempfile
import time
from pathlib import Path
from typing import Any

from av.error import FFmpegError
from comfyui.cache import say
from comfyui.media import check_picture, write_sheet
from comfyui.server import NO_API_NODES, ComfyServer, link_checkpoint
from comfyui.setup import PACK, Host
from comfyui.workflow_settings import Prompt
from demo_options import EMBEDDED, DemoError, workflow_name
from demo_prompt import make_prompt


def check_pictures(options: argparse.Namespace) -> None:
    """Raises DemoError for a broken picture."""
    for path in filter(None, (options.image, options.end_image)):
        if message := check_picture(path):
            raise DemoError(message)


def run(options: argparse.Namespace, host: Host) -> list[Path]:
    """Runs the workflow and returns what it wrote."""
    check_pictures(options)
    checkpoint = options.checkpoint or EMBEDDED
    if options.checkpoint is None:
        say(
            "No --checkpoint: this runs a tiny model that knows 64 x 64 pictures of one coloured "
            "object and nothing else; see README.md for the published ones."
        )
    say(f"Starting ComfyUI from {host.comfyui} ...")
    with ComfyServer(
        host.comfyui, packs=[PACK], python=host.python, extra_args=NO_API_NODES
    ) as server:
        version = server.system_stats()["system"].get("comfyui_version", "")
        say(f"ComfyUI {version} runs at {server.url}")
        link_checkpoint(checkpoint, server.base / "models" / "checkpoints")
        prompt = make_prompt(options, server, checkpoint.name)
        started = time.monotonic()
        outputs = server.prompt(prompt, on_progress=Progress(prompt))
        say(f"Done in {time.monotonic() - started:.0f} s.")
        paths = write_results(options, server, outputs)
        if options.keep_server:
            print(*paths, sep="\n", flush=True)
            say(f"The server keeps running at {server.url} until Ctrl-C.")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(1)
    return paths


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
    options: argparse.Namespace, server: ComfyServer, outputs: dict[str, Any]
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
            write_sheet(*files)
            name = options.image.stem if options.image else workflow_name(options.workflow)
            stem = free_stem(options.output, name)
            return [file.replace(f"{stem}{file.suffix}") for file in files]
    except FFmpegError as error:
        raise DemoError(f"The video cannot be read: {error}.") from error
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
    while any(folder.glob(f"{glob.escape(name)}-{number:04d}.*")):
        number += 1
    return folder / f"{name}-{number:04d}"
