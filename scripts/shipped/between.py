"""Workflows that go from one picture to another, or back to the first."""

from typing import Any

from shipped import files, parts
from shipped.files import ModelFile
from shipped.layout import Group
from shipped.parts import Plain
from shipped.sheet import Node, Output, Sheet

ANIMATING = "Checkpoints that animate one image give flat colours with two."
Groups = list[Group]


def _two_pictures(sheet: Sheet, file: ModelFile, readme: Node, text: str) -> tuple[Plain, Node]:
    """What starts with two pictures, and the second of them."""
    model = parts.load(sheet, file)
    first = parts.picture(sheet, "First frame")
    last = parts.picture(sheet, "Last frame")
    positive = parts.words(sheet, model["clip"], text, "Prompt: what happens between")
    negative = parts.no_words(sheet, model["clip"])
    encoded = parts.context(sheet, model, first["IMAGE"])
    streams = parts.projection(
        sheet, model, positive["CONDITIONING"], negative["CONDITIONING"], encoded
    )
    return Plain(model, readme, first, positive, negative, encoded, streams), last


def _groups(begun: Plain, last: Node) -> Groups:
    first, _, context = begun.groups()
    return [first, Group("Images", "picture", [[begun.picture, last]]), context]


def interpolate(sheet: Sheet) -> Groups:
    """From one image to another."""
    readme = parts.note(
        sheet,
        "Goes from one image to another in 16 frames. Choose your last frame: both are "
        "ComfyUI's example here.",
        [files.INTERP],
        [
            "Both images should show the same scene; the prompt says what happens between.",
            "*fps* 5 is the model's own, smaller means more motion.",
            "Many images in a row: *Keyframes*, or *Storyboard* with mode `interpolate`.",
        ],
        more=f"{ANIMATING} {parts.PRUNED_HINT}",
    )
    begun, last = _two_pictures(sheet, files.INTERP, readme, parts.EXAMPLE_WORDS)
    guided = parts.detail(
        sheet,
        begun.model,
        begun.streams,
        begun.image,
        mode="interpolate",
        end_image=last["IMAGE"],
    )
    sampled = parts.sampler(sheet, begun.model["model"], guided)
    return [
        *_groups(begun, last),
        Group("The images at the ends", "detail", [[guided]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, begun.model["vae"], sampled["latent"], "interpolate"),
    ]


def loop(sheet: Sheet) -> Groups:
    """A video that ends where it began."""
    readme = parts.note(
        sheet,
        "A seamless loop: the image is both the first and the last frame. *drop_last_frame* in "
        "*Video Decode* takes out the doubled one.",
        [files.INTERP],
        [
            "*seed* for another take; *fps* 5 is the model's own, smaller means more motion.",
            "*cfg* 1 to 4 when the end does not meet the start.",
            "Longer: an animating checkpoint, mode `animate`, *length* 48, and *Context Windows "
            "(Manual)* after the loader with `looped_uniform` and *closed_loop*. Keep the last "
            "frame then.",
        ],
        more=f"{ANIMATING} {parts.PRUNED_HINT}",
    )
    begun = parts.plain(sheet, files.INTERP, readme, title="Image to loop")
    guided = parts.detail(sheet, begun.model, begun.streams, begun.image, mode="loop")
    sampled = parts.sampler(sheet, begun.model["model"], guided)
    return [
        *begun.groups(),
        Group("The image at both ends", "detail", [[guided]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, begun.model["vae"], sampled["latent"], "loop", drop_last_frame=True),
    ]


def keyframes(sheet: Sheet) -> Groups:
    """Several images, each at its frame."""
    readme = parts.note(
        sheet,
        "One video through several images, each at its frame, with a prompt for each segment. It "
        "is sampled as a whole: no pause and no doubled frame at an image.",
        [files.INTERP],
        [
            "*Keyframe* sets an image's frame; negative numbers count from the end. Chain more.",
            "*Prompt Schedule*: one line per segment; *length* as in *Visual Detail Guidance*.",
            "*Pin First Frame* with `given` holds every image exactly. Bypass it for freer motion.",
            "The model has learned images at the ends. For long chains *Storyboard* with mode "
            "`interpolate` samples 16 frames for each pair of images.",
        ],
        more=f"{ANIMATING} {parts.PRUNED_HINT}",
    )
    model = parts.load(sheet, files.INTERP)
    first, middle, last = (
        parts.picture(sheet, title) for title in ("First frame", "In the middle", "Last frame")
    )
    inner = sheet.add(
        "DynamiCrafterKeyframe", title="Keyframe in the middle", image=middle["IMAGE"], frame=8
    )
    outer = sheet.add(
        "DynamiCrafterKeyframe",
        title="Keyframe at the end",
        image=last["IMAGE"],
        frame=-1,
        keyframes=inner["keyframes"],
    )
    positive = parts.schedule(
        sheet,
        model["clip"],
        "0: a girl with yellow hair raises her arms\n8: a girl with yellow hair lowers her arms",
    )
    negative = parts.no_words(sheet, model["clip"])
    encoded = parts.context(sheet, model, first["IMAGE"])
    streams = parts.projection(
        sheet, model, positive["conditioning"], negative["CONDITIONING"], encoded
    )
    guided = parts.detail(
        sheet,
        model,
        streams,
        first["IMAGE"],
        mode="keyframes",
        keyframes=outer["keyframes"],
    )
    pinned = sheet.add("DynamiCrafterPinFirstFrame", model=model["model"], frames="given")
    sampled = parts.sampler(sheet, pinned["model"], guided)
    return [
        Group("Model", "model", [[model, readme]]),
        Group("Images", "picture", [[first, middle, last]]),
        Group(
            "Words, and what the image is about",
            "context",
            [[positive, negative, encoded, inner], [streams, outer]],
        ),
        Group("Images at their frames", "detail", [[guided, pinned]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, model["vae"], sampled["latent"], "keyframes"),
    ]


def _toon_ending(sheet: Sheet, begun: Plain, last: Node, samples: Output, name: str) -> Group:
    return parts.ending(
        sheet,
        begun.model["vae"],
        samples,
        name,
        first_image=begun.image,
        last_image=last["IMAGE"],
    )


def _toon_detail(sheet: Sheet, begun: Plain, last: Node, **inputs: Any) -> Node:
    return parts.detail(
        sheet,
        begun.model,
        begun.streams,
        begun.image,
        mode="interpolate",
        end_image=last["IMAGE"],
        **inputs,
    )


TOON_WORDS = "an anime scene, a girl with yellow hair waves her arms"


def toon(sheet: Sheet) -> Groups:
    """Frames between two drawings."""
    readme = parts.note(
        sheet,
        "Draws the frames between two cartoon frames, with ToonCrafter. *Video Decode* looks at "
        "both images again, so lines stay sharp: keep *first_image* and *last_image*. "
        "Choose your last frame: both are ComfyUI's example here.",
        [files.TOON, files.PRUNED_TOON],
        [
            "*fps* 10 is the model's own, 5 to 30 are sensible; smaller means more motion.",
            "Drawings for frames between: *Sketch control (ToonCrafter)*.",
            "Out of memory while decoding: set *chunk_frames* to 4.",
        ],
        more="Its own VAE does the decoding. " + parts.PRUNED_HINT,
    )
    begun, last = _two_pictures(sheet, files.TOON, readme, TOON_WORDS)
    guided = _toon_detail(sheet, begun, last)
    sampled = parts.sampler(sheet, begun.model["model"], guided)
    return [
        *_groups(begun, last),
        Group("What both look like", "detail", [[guided]]),
        Group("Sample", "sample", [[sampled]]),
        _toon_ending(sheet, begun, last, sampled["latent"], "toon_inbetween"),
    ]


def sketch(sheet: Sheet) -> Groups:
    """Frames between two drawings, steered by sketches."""
    readme = parts.note(
        sheet,
        "Draws the frames between two cartoon frames, and follows a sketch for a frame between "
        "them, with ToonCrafter and its sketch encoder.",
        [files.TOON, files.SKETCH],
        [
            "*frames*: the frame of each sketch, comma-separated. Empty: one for every frame.",
            "*Detect Edges (Canny)* draws the sketch from a picture. Bypass it for a drawing of "
            "your own: white lines on black. *Invert Image Colors* turns dark lines on white "
            "paper.",
            "*strength* 0.6 is the published value.",
        ],
        more="`sketch_encoder.ckpt` belongs in `ComfyUI/models/controlnet`.",
    )
    begun, last = _two_pictures(sheet, files.TOON, readme, TOON_WORDS)
    drawn = parts.picture(sheet, "Sketch for frame 8")
    lines = sheet.add("Canny", wide=360, image=drawn["IMAGE"])
    guided = _toon_detail(sheet, begun, last)
    controlled = sheet.add(
        "DynamiCrafterSketchControl",
        positive=guided["positive"],
        negative=guided["negative"],
        control_net_name=files.SKETCH.name,
        sketches=lines["IMAGE"],
        frames="8",
    )
    sampled = parts.sampler(sheet, begun.model["model"], controlled, latent=guided["latent"])
    first, images, context = _groups(begun, last)
    images.columns = [[begun.picture, last, drawn]]
    context.columns = [[begun.positive, begun.negative, begun.encoded, lines], [begun.streams]]
    return [
        first,
        images,
        context,
        Group("Both images, and the sketch", "detail", [[guided], [controlled]]),
        Group("Sample", "sample", [[sampled]]),
        _toon_ending(sheet, begun, last, sampled["latent"], "sketch_control"),
    ]
