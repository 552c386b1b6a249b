"""The blueprints: one box for each task, and the workflow that shows one."""

from typing import Any

from shipped import files, parts
from shipped.box import Box
from shipped.files import ModelFile
from shipped.layout import Group
from shipped.sheet import Node, ObjectInfo, Output, Sheet

# The page renumbers inner nodes whose numbers are outer ones, too.
INNER = 101
Made = tuple[Box, dict[str, Any]]


def _settings(box: Box, file: ModelFile, text: str) -> dict[str, Output]:
    """The inputs that every box has after its pictures."""
    cfg, fps = (12.0, 28) if file is files.VC2 else (7.5, 0)
    length = 64 if box.name.startswith("Long") else 16
    given: tuple[tuple[str, str, Any], ...] = (
        ("prompt", "STRING", text),
        ("negative_prompt", "STRING", ""),
        ("fps", "INT", fps),
        ("seed", "INT", 123),
        ("width", "INT", 512),
        ("height", "INT", 320),
        ("length", "INT", length),
        ("steps", "INT", 50),
        ("cfg", "FLOAT", cfg),
        ("checkpoint", "COMBO", file.name),
    )
    return {name: box.input(name, kind, default) for name, kind, default in given}


def _words(sheet: Sheet, model: Node, settings: dict[str, Output]) -> tuple[Node, Node]:
    positive = sheet.add(
        "CLIPTextEncode", title="Prompt", clip=model["clip"], text=settings["prompt"]
    )
    negative = sheet.add(
        "CLIPTextEncode",
        title="Negative prompt",
        clip=model["clip"],
        text=settings["negative_prompt"],
    )
    return positive, negative


def _sampled(sheet: Sheet, model: Output, guided: Node, settings: dict[str, Output]) -> Node:
    own = {name: settings[name] for name in ("seed", "steps", "cfg")}
    return parts.sampler(sheet, model, guided, **own)


def _frame_settings(settings: dict[str, Output]) -> dict[str, Any]:
    return {name: settings[name] for name in ("width", "height", "length", "fps")}


def _finish(box: Box, groups: list[Group], frames: Node) -> Made:
    video = box.sheet.add("CreateVideo", wide=300, images=frames["images"], fps=8.0)
    groups.append(Group("Video", "video", [[frames], [video]]))
    box.outputs(video=video["VIDEO"], images=frames["images"], last_frame=frames["last_frame"])
    return box, box.finish(groups)


def _from_pictures(
    info: ObjectInfo,
    name: str,
    description: str,
    file: ModelFile,
    *,
    mode: str = "animate",
    text: str = parts.EXAMPLE_WORDS,
    toon: bool = False,
    windows: bool = False,
) -> Made:
    """A box that starts from one picture, or goes between two."""
    box = Box(name, description, Sheet(info, INNER))
    sheet = box.sheet
    both = mode == "interpolate"
    first = box.input("first_frame" if both else "image", "IMAGE")
    last = box.input("last_frame", "IMAGE") if both else None
    settings = _settings(box, file, text)
    model = sheet.add("DynamiCrafterCheckpointLoader", ckpt_name=settings["checkpoint"])
    positive, negative = _words(sheet, model, settings)
    encoded = parts.context(sheet, model, first)
    streams = parts.projection(
        sheet, model, positive["CONDITIONING"], negative["CONDITIONING"], encoded
    )
    ends = {"end_image": last} if last else {}
    guided = parts.detail(
        sheet, model, streams, first, mode=mode, **_frame_settings(settings), **ends
    )
    middle, source = [[guided]], model["model"]
    if windows:
        windowed = sheet.add(
            "ContextWindowsManual",
            model=source,
            context_length=16,
            context_overlap=8,
            context_schedule="standard_static",
            fuse_method="pyramid",
            dim=0,
            freenoise=True,
        )
        middle, source = [[guided, windowed]], windowed["MODEL"]
    sampled = _sampled(sheet, source, guided, settings)
    looks: dict[str, Any] = {"first_image": first, "last_image": last} if toon else {}
    frames = parts.decode(
        sheet, model["vae"], sampled["latent"], drop_last_frame=mode == "loop", **looks
    )
    groups = [
        Group("Model", "model", [[model]]),
        Group(
            "Words, and what the image is about",
            "context",
            [[positive, negative, encoded], [streams]],
        ),
        Group("What it looks like", "detail", middle),
        Group("Sample", "sample", [[sampled]]),
    ]
    return _finish(box, groups, frames)


def image_to_video(info: ObjectInfo) -> Made:
    """One picture animated."""
    return _from_pictures(
        info,
        "Image to Video (DynamiCrafter)",
        "Animates an image with DynamiCrafter: 16 frames that start from it and follow the prompt. "
        "fps 0 is the model's own; smaller means more motion with the 512 and 1024 models.",
        files.DC_512,
    )


def by_family_name(info: ObjectInfo) -> Made:
    """The same under the name that people type first: the search puts an equal name on top."""
    return _from_pictures(
        info,
        "DynamiCrafter",
        "Animates an image: the same box as Image to Video (DynamiCrafter). Boxes for loops, "
        "interpolation, long videos and cartoons are in the search, too.",
        files.DC_512,
    )


def between(info: ObjectInfo) -> Made:
    """From one picture to another."""
    return _from_pictures(
        info,
        "First and Last Frame to Video (DynamiCrafter)",
        "Goes from one image to another in 16 frames, with DynamiCrafter's interpolation model.",
        files.INTERP,
        mode="interpolate",
    )


def loop(info: ObjectInfo) -> Made:
    """A loop."""
    return _from_pictures(
        info,
        "Seamless Loop (DynamiCrafter)",
        "Animates an image into a video that ends where it began, with DynamiCrafter's "
        "interpolation model. The doubled last frame is dropped.",
        files.INTERP,
        mode="loop",
    )


def long(info: ObjectInfo) -> Made:
    """More than 16 frames."""
    return _from_pictures(
        info,
        "Long Video (DynamiCrafter)",
        "Animates an image over 64 frames or more with DynamiCrafter, in overlapping windows of "
        "16 frames.",
        files.DC_512,
        windows=True,
    )


def cartoon(info: ObjectInfo) -> Made:
    """Frames between two drawings."""
    return _from_pictures(
        info,
        "Cartoon In-between (DynamiCrafter)",
        "Draws the frames between two cartoon frames with ToonCrafter.",
        files.TOON,
        mode="interpolate",
        text="an anime scene, a girl with yellow hair waves her arms",
        toon=True,
    )


def text_to_video(info: ObjectInfo) -> Made:
    """From words alone."""
    box = Box(
        "Text to Video (DynamiCrafter)",
        "Makes a video of 16 frames from words alone, with VideoCrafter 2.",
        Sheet(info, INNER),
    )
    sheet = box.sheet
    settings = _settings(box, files.VC2, "a panda eats bamboo, cinematic, soft light")
    model = sheet.add("DynamiCrafterCheckpointLoader", ckpt_name=settings["checkpoint"])
    positive, negative = _words(sheet, model, settings)
    empty = sheet.add(
        "DynamiCrafterEmptyVideo",
        positive=positive["CONDITIONING"],
        negative=negative["CONDITIONING"],
        **_frame_settings(settings),
    )
    sampled = _sampled(sheet, model["model"], empty, settings)
    frames = parts.decode(sheet, model["vae"], sampled["latent"])
    groups = [
        Group("Model", "model", [[model]]),
        Group("Words", "words", [[positive, negative]]),
        Group("Size, length, speed", "detail", [[empty]]),
        Group("Sample", "sample", [[sampled]]),
    ]
    return _finish(box, groups, frames)


BOXES = (image_to_video, by_family_name, between, loop, text_to_video, long, cartoon)


def shown(sheet: Sheet) -> tuple[list[Group], Made]:
    """The workflow around the first box."""
    made = image_to_video(sheet.object_info)
    readme = parts.note(
        sheet,
        "Animates one image: 16 frames that start from it and follow the prompt. The box holds "
        "the graph of *Animate an image*; the button in its corner opens it.",
        [files.DC_512, files.DC_1024, files.DC_256],
        [
            parts_hint("fps"),
            "More boxes are in the node search: *First and Last Frame to Video*, *Seamless Loop*, "
            "*Text to Video*, *Long Video*, *Cartoon In-between*.",
        ],
    )
    picture = parts.picture(sheet, "Image to animate")
    box = made[0].put(sheet, image=picture["IMAGE"])
    saved = sheet.add(
        "SaveVideo", wide=420, video=box["video"], filename_prefix="video/dynamicrafter"
    )
    groups = [
        Group("Image", "picture", [[readme], [picture]]),
        Group("Image to video", "sample", [[box]]),
        Group("Video", "video", [[saved]]),
    ]
    return groups, made


def parts_hint(name: str) -> str:
    """How one of the box's inputs changes the motion."""
    return (
        f"*{name}* 0 is the model's own. 512 and 1024: smaller means more motion. 256: larger "
        "means more motion."
    )
