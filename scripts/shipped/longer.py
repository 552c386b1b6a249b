"""Workflows that make more than 16 frames."""

from typing import Any

from shipped import files, parts
from shipped.layout import Group
from shipped.sheet import Node, Output, Sheet

Groups = list[Group]
BOTH = [files.DC_512, files.DC_1024]


def extend(sheet: Sheet) -> Groups:
    """A video continued from its last frames."""
    readme = parts.note(
        sheet,
        "Animates an image, then continues from the video's last frames: 16 frames and 12 more, "
        "with a new prompt, without a seam.",
        BOTH,
        [
            "*overlap*: how many frames the pieces share. They are held exactly, so the motion "
            "carries on. *before* is the first video without them.",
            "Once more: copy the group *Continue from its last frames*, fed by the second *Video "
            "Decode* and sampler.",
            "A video of your own: load its frames instead of the first part and leave *samples* "
            "of *Extend Video* empty.",
            "Many pieces: *Storytelling*.",
        ],
    )
    begun = parts.plain(sheet, files.DC_512, readme)
    model = begun.model
    onward = parts.words(
        sheet, model["clip"], "a girl with yellow hair lowers her arms", "Prompt: how it continues"
    )
    guided = parts.detail(sheet, model, begun.streams, begun.image)
    sampled = parts.sampler(sheet, model["model"], guided)
    frames = parts.decode(sheet, model["vae"], sampled["latent"])
    encoded = parts.context(sheet, model, frames["last_frame"])
    streams = parts.projection(
        sheet, model, onward["CONDITIONING"], begun.negative["CONDITIONING"], encoded
    )
    continued = sheet.add(
        "DynamiCrafterExtend",
        positive=streams["positive"],
        negative=streams["negative"],
        vae=model["vae"],
        images=frames["images"],
        samples=sampled["latent"],
    )
    again = parts.sampler(sheet, model["model"], continued, seed=124)
    more = parts.decode(sheet, model["vae"], again["latent"])
    joined = _batch(sheet, continued["before"], more["images"])
    made, saved = parts.save(sheet, joined["IMAGE"], "extend")
    first, images, context = begun.groups()
    context.columns = [[begun.positive, onward, begun.negative, begun.encoded], [begun.streams]]
    return [
        first,
        images,
        context,
        Group("First part", "detail", [[guided], [sampled], [frames]]),
        Group("Continue from its last frames", "context", [[encoded], [streams], [continued]]),
        Group("Second part", "sample", [[again], [more]]),
        Group("Join and save", "video", [[joined], [made], [saved]]),
    ]


def _batch(sheet: Sheet, one: Output, other: Output) -> Node:
    inputs: dict[str, Any] = {"images.image0": one, "images.image1": other}
    return sheet.add("BatchImagesNode", wide=300, **inputs)


def long(sheet: Sheet) -> Groups:
    """64 frames in windows of 16."""
    readme = parts.note(
        sheet,
        "64 frames in the memory of 16: the model sees overlapping windows of 16 frames, blended "
        "in every step.",
        BOTH,
        [
            "*length* in *Visual Detail Guidance* is the number of frames. Windows take one video "
            "at a time: leave *batch_size* at 1.",
            "More *context_overlap*: smoother, slower. Leave *context_length* at 16.",
            "*freenoise* makes the windows agree. *Color Match* takes the drift out; bypass it "
            "where light should change.",
            "An endless loop: `looped_uniform` and *closed_loop*.",
            "Interpolation checkpoints do not fit: they would see no image in the middle windows.",
        ],
    )
    begun = parts.plain(sheet, files.DC_512, readme)
    model, image = begun.model, begun.image
    guided = parts.detail(sheet, model, begun.streams, image, length=64)
    windows = sheet.add(
        "ContextWindowsManual",
        model=model["model"],
        context_length=16,
        context_overlap=8,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        dim=0,
        freenoise=True,
    )
    sampled = parts.sampler(sheet, windows["MODEL"], guided)
    frames = parts.decode(sheet, model["vae"], sampled["latent"])
    matched = sheet.add(
        "DynamiCrafterColorMatch",
        wide=300,
        images=frames["images"],
        reference=image,
        source="each_frame",
    )
    made, saved = parts.save(sheet, matched["images"], "long_video")
    return [
        *begun.groups(),
        Group("Looks, and windows", "detail", [[guided, windows]]),
        Group("Sample in windows", "sample", [[sampled]]),
        Group("Video", "video", [[frames], [matched], [made], [saved]]),
    ]


def storytelling(sheet: Sheet) -> Groups:
    """Shots in a row."""
    readme = parts.note(
        sheet,
        "A story of four shots becomes one video: two places, two shots in each. Choose your "
        "pictures: both are ComfyUI's example here.",
        BOTH,
        [
            "A *Shot* with an image is a cut to it. A *Shot* without one continues the shot "
            "before; both share *overlap* frames, and no seam shows.",
            "Each shot has its own prompt, length and fps (0: the model's own).",
            "An interpolation checkpoint and mode `interpolate` move from image to image: every "
            "shot has one, the last is only the image to end on.",
            "*Pin First Frame* keeps each image exactly as it is.",
        ],
    )
    model = parts.load(sheet, files.DC_512)
    places = [parts.picture(sheet, title) for title in ("First place", "Second place")]
    shots: list[Node] = []
    for title, text, image in (
        ("Shot 1", "a girl with yellow hair waves her arms", places[0]),
        ("Shot 2: continues", "the girl turns her head", None),
        ("Shot 3: cut", "clouds drift over the green hill", places[1]),
        ("Shot 4: continues", "the wind blows, her hair moves", None),
    ):
        inputs: dict[str, Any] = {"image": image["IMAGE"]} if image else {}
        if shots:
            inputs["shots"] = shots[-1]["shots"]
        shots.append(sheet.add("DynamiCrafterShot", title=title, prompt=text, **inputs))
    pinned = sheet.add("DynamiCrafterPinFirstFrame", model=model["model"], frames="first")
    board = sheet.add(
        "DynamiCrafterStoryboard",
        model=pinned["model"],
        clip=model["clip"],
        vae=model["vae"],
        clip_vision=model["clip_vision"],
        projector=model["projector"],
        shots=shots[-1]["shots"],
        seed=123,
    )
    made, saved = parts.save(sheet, board["images"], "storytelling")
    return [
        Group("Model", "model", [[model, readme]]),
        Group("Images", "picture", [places]),
        Group("Shots", "context", [[shots[0]], [shots[1]], [shots[2]], [shots[3], pinned]]),
        Group("Sample shot after shot", "sample", [[board]]),
        Group("Video", "video", [[made], [saved]]),
    ]
