"""The demo's prompt: a shipped workflow with the pictures, words and settings of the flags."""

import argparse
import contextlib
import json
import shutil
from pathlib import Path

from comfyui.cache import say
from comfyui.server import ComfyServer
from comfyui.setup import PACK
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
from demo_options import ASSETS, DemoError, workflow_name
from embedded_examples import EXAMPLES as LESSONS
from embedded_examples import SETTINGS as EMBEDDED_SETTINGS
from shipped.names import file_name

SETTINGS = ("seed", "steps", "width", "height", "frames", "fps")
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
    """Makes the folder of pictures that a workflow loads: these alone, whatever ran before."""
    folder = server.base / "input" / PICTURE_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
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
