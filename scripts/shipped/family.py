"""Workflows for the relatives: CIL, ViewCrafter, VideoCrafter 1 and 2."""

from shipped import files, parts
from shipped.files import ModelFile
from shipped.layout import Group
from shipped.sheet import Node, Sheet

Groups = list[Group]


def cil(sheet: Sheet) -> Groups:
    """Sampling that starts below the last timestep."""
    readme = parts.note(
        sheet,
        "Animates one image with more motion. At the last timesteps the model knows nothing but "
        "the still image and copies it. Sampling therefore starts at timestep M, from noise with "
        "the mean and the variance of real videos (*Analytic-Init Noise*).",
        [files.DC_512, files.CIL_512],
        [
            "*Start timestep M*: lower means more motion, and below about 900 less likeness.",
            "CIL checkpoints were trained against the copying and start at 1000.",
            "A published Analytic-Init file, also in `models/checkpoints`, goes into *init_file*.",
        ],
        column="what it is",
    )
    begun = parts.plain(sheet, files.DC_512, readme)
    model = begun.model
    guided = parts.detail(sheet, model, begun.streams, begun.image)
    start = sheet.add("PrimitiveInt", title="Start timestep M", value=940)
    noise = sheet.add(
        "DynamiCrafterAnalyticInit", model=model["model"], seed=123, start_timestep=start["INT"]
    )
    sampled = parts.sampler(
        sheet,
        model["model"],
        guided,
        start_timestep=start["INT"],
        noise=noise["NOISE"],
    )
    return [
        *begun.groups(),
        Group("What it looks like; start", "detail", [[guided, start], [noise]]),
        Group("Sample from M down", "sample", [[sampled]]),
        parts.ending(sheet, model["vae"], sampled["latent"], "cil"),
    ]


def viewcrafter(sheet: Sheet) -> Groups:
    """A render for each frame."""
    readme = parts.note(
        sheet,
        "Turns a rough render of a scene along a camera's path into a clean video of it. Every "
        "frame is guided by its own render; the first is the photograph itself. As it stands, the "
        "renders are one picture, repeated: a camera at rest.",
        [files.VIEW_25, files.VIEW_16],
        [
            "For renders of your own, for example of a point cloud from DUSt3R, replace *Repeat "
            "Image Batch* with *Load Video* and *Get Video Components*. Black means unknown.",
            "As many renders as *length* says: 25, or 16 for the other checkpoint.",
            "The prompt matters little; `Rotating view of a scene` is the published one.",
        ],
        column="frames, size",
    )
    begun = parts.plain(
        sheet,
        files.VIEW_25,
        readme,
        text="Rotating view of a scene",
        title="Photograph",
    )
    renders = sheet.add(
        "RepeatImageBatch",
        title="Renders: one for each frame",
        wide=360,
        image=begun.image,
        amount=25,
    )
    guided = parts.detail(
        sheet,
        begun.model,
        begun.streams,
        renders["IMAGE"],
        width=1024,
        height=576,
        length=25,
        mode="per_frame",
    )
    sampled = parts.sampler(sheet, begun.model["model"], guided)
    first, images, context = begun.groups()
    context.columns = [
        [begun.positive, begun.negative, begun.encoded, renders],
        [begun.streams],
    ]
    return [
        first,
        images,
        context,
        Group("A render for each frame", "detail", [[guided]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, begun.model["vae"], sampled["latent"], "viewcrafter", 10.0),
    ]


def videocrafter1_image(sheet: Sheet) -> Groups:
    """A video about an image."""
    readme = parts.note(
        sheet,
        "Makes a video of 16 frames about an image, with VideoCrafter 1. The model sees what the "
        "image shows, but not its pixels: the video resembles it and does not start from it. To "
        "start from it exactly: *Animate an image*.",
        [files.VC1_IMAGE],
        [
            "*fps* 8 is the published value.",
            "*Dual-Attention Lambda* weighs the image against the words.",
        ],
    )
    begun = parts.plain(sheet, files.VC1_IMAGE, readme, title="Image that lends its content")
    empty = sheet.add(
        "DynamiCrafterEmptyVideo",
        positive=begun.streams["positive"],
        negative=begun.streams["negative"],
        fps=8,
    )
    sampled = parts.sampler(sheet, begun.model["model"], empty, cfg=12.0)
    return [
        *begun.groups(),
        Group("Size, length, speed", "detail", [[empty]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, begun.model["vae"], sampled["latent"], "videocrafter1_image_to_video"),
    ]


def _from_words(sheet: Sheet, file: ModelFile, readme: Node, text: str, name: str) -> Groups:
    model = parts.load(sheet, file)
    positive = parts.words(sheet, model["clip"], text, "Prompt: what is seen, and how it moves")
    negative = parts.no_words(sheet, model["clip"])
    empty = sheet.add(
        "DynamiCrafterEmptyVideo",
        positive=positive["CONDITIONING"],
        negative=negative["CONDITIONING"],
        fps=28,
    )
    sampled = parts.sampler(sheet, model["model"], empty, cfg=12.0)
    return [
        Group("Model", "model", [[model, readme]]),
        Group("Words", "words", [[positive, negative]]),
        Group("Size, length, speed", "detail", [[empty]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, model["vae"], sampled["latent"], name),
    ]


def videocrafter1(sheet: Sheet) -> Groups:
    """VideoCrafter 1 from words."""
    readme = parts.note(
        sheet,
        "Makes a video of 16 frames from words alone, with VideoCrafter 1.",
        [files.VC1_512, files.VC1_1024],
        [
            "*fps* 28 is the published value of the 1024 model; smaller means more motion. The "
            "512 model has no such control.",
            "*cfg* 12 is the published value; 7.5 follows the words less and looks calmer.",
            "*KSampler* with `euler` and `ddim_uniform` works in place of *Dual-Attention "
            "Sampler*.",
        ],
        more="Choose the size in *Empty Video*; the loader sees which file it is.",
    )
    return _from_words(
        sheet,
        files.VC1_512,
        readme,
        "a tiger walks in the forest, photorealistic, 4k, high definition",
        "videocrafter1_text_to_video",
    )


def videocrafter2(sheet: Sheet) -> Groups:
    """VideoCrafter 2 from words."""
    readme = parts.note(
        sheet,
        "Makes a video of 16 frames from words alone, with VideoCrafter 2.",
        [files.VC2],
        [
            "*fps* 28 is the published value; 8 to 16 give more motion.",
            "*cfg* 12 is the published value; 7.5 follows the words less and looks calmer.",
            "Take a frame that you like and animate it: *Animate an image*.",
        ],
        more="",
    )
    return _from_words(
        sheet,
        files.VC2,
        readme,
        "a panda eats bamboo, cinematic, soft light, highly detailed",
        "videocrafter2_text_to_video",
    )
