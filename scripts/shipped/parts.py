"""The parts that most workflows share. Each adds nodes to a sheet and returns them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shipped.files import ModelFile
from shipped.layout import Group
from shipped.sheet import Node, Output, Sheet

# The picture that ComfyUI brings in its input folder: a girl with yellow hair on a green hill.
EXAMPLE = "example.png"
EXAMPLE_WORDS = "a girl with yellow hair waves her arms, clouds drift over the green hill"
NEGATIVE_TITLE = "Negative prompt (empty, as published)"
PRUNED_HINT = (
    "Pruned 16-bit files (5 GB) lack the text and image encoders: the workflow "
    "*Pruned files with Load CLIP* adds them."
)
RENAME_HINT = (
    "Missing: press *Download* in the page's panel, or take the link. Browsers save it under the "
    "name in the second column: rename it. It belongs in `ComfyUI/models/checkpoints`; then press "
    "*R*."
)


def note(
    sheet: Sheet,
    what: str,
    files: Sequence[ModelFile],
    tries: Sequence[str],
    *,
    column: str = "size",
    more: str = PRUNED_HINT,
) -> Node:
    """The note beside the loader: what this does, which files it needs, what to try."""
    table = [f"| file | from Hugging Face | {column} |", "|---|---|---|", *(f.row for f in files)]
    text = "\n".join(
        [
            "## What this does",
            what,
            "",
            "## Which files it needs",
            *table,
            "",
            " ".join(filter(None, (RENAME_HINT, more))),
            "",
            "## What to try",
            *(f"- {line}" for line in tries),
            "",
        ]
    )
    return sheet.note(text)


def load(sheet: Sheet, file: ModelFile, **inputs: Any) -> Node:
    """The checkpoint's loader."""
    return sheet.add("DynamiCrafterCheckpointLoader", wide=540, ckpt_name=file.name, **inputs)


def picture(sheet: Sheet, title: str) -> Node:
    """A picture from the input folder."""
    return sheet.add("LoadImage", title=title, wide=360, image=EXAMPLE)


def words(sheet: Sheet, clip: Output, text: str, title: str = "Prompt: what moves") -> Node:
    """A prompt."""
    return sheet.add("CLIPTextEncode", title=title, wide=360, clip=clip, text=text)


def schedule(sheet: Sheet, clip: Output, prompts: str, **inputs: Any) -> Node:
    """A prompt that changes along 16 frames."""
    return sheet.add(
        "DynamiCrafterPromptSchedule", wide=360, clip=clip, prompts=prompts, length=16, **inputs
    )


def no_words(sheet: Sheet, clip: Output) -> Node:
    """The negative prompt."""
    return sheet.add("CLIPTextEncode", title=NEGATIVE_TITLE, wide=360, tall=110, clip=clip, text="")


def context(sheet: Sheet, model: Node, image: Output) -> Node:
    """What the image is about, as the image tower sees it."""
    return sheet.add(
        "DynamiCrafterContextEncode", clip_vision=model["clip_vision"], image=image, wide=360
    )


def projection(
    sheet: Sheet, model: Node, positive: Output, negative: Output, encoded: Node, **inputs: Any
) -> Node:
    """Words and image tokens together."""
    return sheet.add(
        "DynamiCrafterContextProjection",
        positive=positive,
        negative=negative,
        projector=model["projector"],
        clip_vision_output=encoded["clip_vision_output"],
        null_clip_vision_output=encoded["null_clip_vision_output"],
        **inputs,
    )


def detail(sheet: Sheet, model: Node, streams: Node, image: Output, **inputs: Any) -> Node:
    """What the image looks like, size, length and mode."""
    return sheet.add(
        "DynamiCrafterVisualDetailGuidance",
        positive=streams["positive"],
        negative=streams["negative"],
        vae=model["vae"],
        image=image,
        **inputs,
    )


def sampler(sheet: Sheet, model: Output, source: Node, **inputs: Any) -> Node:
    """The published sampler, fed by a node with positive, negative and latent."""
    given = {"seed": 123, "steps": 50, "cfg": 7.5} | inputs
    if "latent" not in given:
        given["latent"] = source["latent"]
    return sheet.add(
        "DynamiCrafterSampler",
        model=model,
        positive=source["positive"],
        negative=source["negative"],
        **given,
    )


def decode(sheet: Sheet, vae: Output, samples: Output, **inputs: Any) -> Node:
    """Frames."""
    return sheet.add("DynamiCrafterVideoDecode", wide=300, vae=vae, samples=samples, **inputs)


def save(sheet: Sheet, images: Output, name: str, fps: float = 8.0) -> tuple[Node, Node]:
    """A video file of the frames."""
    made = sheet.add("CreateVideo", wide=300, images=images, fps=fps)
    saved = sheet.add("SaveVideo", wide=420, video=made["VIDEO"], filename_prefix=f"video/{name}")
    return made, saved


@dataclass
class Plain:
    """One picture animated: what every variation of it begins with."""

    model: Node
    readme: Node
    picture: Node
    positive: Node
    negative: Node
    encoded: Node
    streams: Node

    @property
    def image(self) -> Output:
        """The picture's pixels."""
        return Output(self.picture, 0, "IMAGE")

    def groups(self) -> list[Group]:
        """The first three groups."""
        return [
            Group("Model", "model", [[self.model, self.readme]]),
            Group("Image", "picture", [[self.picture]]),
            Group(
                "Words, and what the image is about",
                "context",
                [[self.positive, self.negative, self.encoded], [self.streams]],
            ),
        ]


def plain(
    sheet: Sheet,
    file: ModelFile,
    readme: Node,
    *,
    text: str = EXAMPLE_WORDS,
    title: str = "Image to animate",
    loader: dict[str, Any] | None = None,
) -> Plain:
    """Loader, picture, words and both streams of what the image is about."""
    model = load(sheet, file, **(loader or {}))
    shown = picture(sheet, title)
    positive = words(sheet, model["clip"], text)
    negative = no_words(sheet, model["clip"])
    encoded = context(sheet, model, shown["IMAGE"])
    streams = projection(sheet, model, positive["CONDITIONING"], negative["CONDITIONING"], encoded)
    return Plain(model, readme, shown, positive, negative, encoded, streams)


def ending(
    sheet: Sheet, vae: Output, samples: Output, name: str, fps: float = 8.0, **decoding: Any
) -> Group:
    """The last group: decoded, made a video, saved."""
    frames = decode(sheet, vae, samples, **decoding)
    made, saved = save(sheet, frames["images"], name, fps)
    return Group("Video", "video", [[frames], [made], [saved]])
