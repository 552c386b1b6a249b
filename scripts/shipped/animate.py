"""Workflows that animate one picture."""

from collections.abc import Sequence
from typing import Any

from shipped import files, parts
from shipped.files import ModelFile
from shipped.layout import Group
from shipped.parts import Plain
from shipped.sheet import Node, Sheet

SPEED = "*fps* 0 is the model's own. 512 and 1024: smaller means more motion."
Groups = list[Group]
ROW = 640  # the height of nodes in parallel rows: a sampler with its preview


def _begin(
    sheet: Sheet,
    what: str,
    tries: Sequence[str],
    file: ModelFile = files.DC_512,
    others: Sequence[ModelFile] = (),
    **options: Any,
) -> Plain:
    return parts.plain(sheet, file, parts.note(sheet, what, [file, *others], tries), **options)


def _one(
    sheet: Sheet, begun: Plain, name: str, *, width: int = 512, height: int = 320, **decoding: Any
) -> Groups:
    """The plain ending: guidance, sampler, video."""
    model = begun.model
    guided = parts.detail(sheet, model, begun.streams, begun.image, width=width, height=height)
    sampled = parts.sampler(sheet, model["model"], guided)
    return [
        *begun.groups(),
        Group("What it looks like", "detail", [[guided]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, model["vae"], sampled["latent"], name, **decoding),
    ]


def animate(sheet: Sheet) -> Groups:
    """One image, one prompt, 16 frames."""
    begun = _begin(
        sheet,
        "Animates one image: 16 frames that start from it and follow the prompt.",
        [
            SPEED + " 256: larger means more motion.",
            "*seed* for another take, *steps* 25 for a faster one.",
            "All of this in one box: *Image to Video (DynamiCrafter)* in the node search.",
        ],
        others=(files.DC_1024, files.DC_256),
    )
    return _one(sheet, begun, "dynamicrafter")


def at_1024(sheet: Sheet) -> Groups:
    """The 1024 model."""
    begun = _begin(
        sheet,
        "Animates one image at 1024 x 576. The sharpest model, with the calmest motion.",
        [
            "*fps* 0 is the model's own, 10. 5 to 15 are sensible; smaller means more motion.",
            "Out of memory: 768 x 448, or the workflow *Low memory*.",
            "*Interpolate between two images* needs another file.",
        ],
        files.DC_1024,
    )
    return _one(sheet, begun, "dynamicrafter_1024", width=1024, height=576)


def at_256(sheet: Sheet) -> Groups:
    """The 256 model."""
    begun = _begin(
        sheet,
        "Animates one image at 256 x 256. The smallest and fastest model, and the only one with "
        "a learned lambda for each layer.",
        [
            "*fps* is a frame stride here: 1 to 6, larger means more motion. 0 is 3.",
            "The training videos had watermarks, and some results show one.",
            "See lambda in *Lambda study*.",
        ],
        files.DC_256,
    )
    return _one(sheet, begun, "dynamicrafter_256", width=256, height=256)


def low_memory(sheet: Sheet) -> Groups:
    """Weights in 8 bits, decoding in pieces."""
    begun = _begin(
        sheet,
        "Animates one image with as little memory as the models need: weights in 8 bits, frames "
        "decoded two at a time, in tiles.",
        [
            "*weight_dtype* `default` where memory allows: 8 bits cost some detail.",
            "*chunk_frames* 0 and *tile_size* 0 let ComfyUI choose by free memory.",
            "A smaller width and height saves the most; multiples of 8.",
        ],
        loader={"weight_dtype": "fp8_e4m3fn"},
    )
    return _one(sheet, begun, "low_memory", chunk_frames=2, tile_size=256)


def guidance(sheet: Sheet) -> Groups:
    """Text and image each with a scale."""
    begun = _begin(
        sheet,
        "Guides words and image by a scale each: *cfg* for the words, *image_cfg* for the image. "
        "The wire *image_only* switches it on.",
        [
            "*image_cfg* below *cfg*: freer of the image, more motion. Above: closer to it.",
            "Equal scales give the same video as one scale.",
            "Each step runs the model three times, not twice.",
        ],
    )
    model = begun.model
    guided = parts.detail(
        sheet,
        model,
        begun.streams,
        begun.image,
        image_only=begun.streams["image_only"],
    )
    sampled = parts.sampler(
        sheet, model["model"], guided, image_cfg=4.0, image_only=guided["image_only"]
    )
    return [
        *begun.groups(),
        Group("What it looks like", "detail", [[guided]]),
        Group("Sample with two scales", "sample", [[sampled]]),
        parts.ending(sheet, model["vae"], sampled["latent"], "two_guidance_scales"),
    ]


def lambda_study(sheet: Sheet) -> Groups:
    """Three lambdas side by side."""
    begun = _begin(
        sheet,
        "One picture, one seed, three settings of lambda in the middle layers: how much each "
        "layer listens to the image. The three videos stand side by side.",
        [
            "Lower middle layers: more motion, less faithful. Higher: stiller.",
            "*outer_layers* at 0 takes the image out of both ends of the U-Net.",
            "The 256 model has learned its lambdas: *Plot Lambda* shows them.",
        ],
    )
    model = begun.model
    guided = parts.detail(sheet, model, begun.streams, begun.image)
    dials = [
        sheet.add(
            "DynamiCrafterLambda",
            title=f"Middle layers x {value}",
            model=model["model"],
            middle_layers=value,
            tall=ROW,
        )
        for value in (0.5, 1.0, 1.5)
    ]
    plot = sheet.add("DynamiCrafterLambdaPlot", wide=300, model=dials[0]["model"])
    shown = sheet.add("PreviewImage", wide=300, images=plot["image"])
    samplers = [parts.sampler(sheet, dial["model"], guided, tall=ROW) for dial in dials]
    frames = [parts.decode(sheet, model["vae"], s["latent"], tall=ROW) for s in samplers]
    stitched, video = _side_by_side(sheet, frames, "lambda_study")
    return [
        *begun.groups(),
        Group("What it looks like, and lambda", "detail", [[guided], dials]),
        Group("Sample three times", "sample", [[*samplers, plot]]),
        Group("Side by side", "video", [[*frames, shown], *stitched]),
        video,
    ]


def motion_control(sheet: Sheet) -> Groups:
    """One picture, four prompts, one grid."""
    model_file = files.DC_512
    readme = parts.note(
        sheet,
        "One picture, one seed, four prompts: what the words do, in one grid. Top: the first and "
        "the second prompt.",
        [model_file],
        [
            "Name the motion, not the scene: the picture shows that.",
            "Another *seed* in all four samplers: is it the words, or chance?",
            "A smaller grid: mute a sampler's row and its *Stitch Images*.",
        ],
    )
    model = parts.load(sheet, model_file)
    shown = parts.picture(sheet, "Image to animate")
    negative = parts.no_words(sheet, model["clip"])
    encoded = parts.context(sheet, model, shown["IMAGE"])
    motions = (
        "she waves her arms",
        "she turns her head to the left",
        "clouds drift by, her hair blows in the wind",
        "the camera zooms in",
    )
    texts = [
        parts.words(sheet, model["clip"], text, f"Prompt {i}") for i, text in enumerate(motions, 1)
    ]
    streams = [
        parts.projection(
            sheet, model, t["CONDITIONING"], negative["CONDITIONING"], encoded, tall=ROW
        )
        for t in texts
    ]
    guided = [parts.detail(sheet, model, s, shown["IMAGE"], tall=ROW) for s in streams]
    samplers = [parts.sampler(sheet, model["model"], g, tall=ROW) for g in guided]
    frames = [parts.decode(sheet, model["vae"], s["latent"], tall=ROW) for s in samplers]
    stitched, video = _grid(sheet, frames, "text_motion_control")
    return [
        Group("Model", "model", [[model, readme]]),
        Group("Image and words", "picture", [[shown], [*texts, negative, encoded]]),
        Group("What the image is about", "context", [streams]),
        Group("What it looks like", "detail", [guided]),
        Group("Sample four times", "sample", [samplers]),
        Group("In one grid", "video", [frames, *stitched]),
        video,
    ]


def _stitch(sheet: Sheet, one: Any, other: Any, direction: str = "right") -> Node:
    return sheet.add(
        "ImageStitch", wide=280, image1=one, image2=other, direction=direction, spacing_width=4
    )


def _side_by_side(
    sheet: Sheet, frames: Sequence[Node], name: str
) -> tuple[list[list[Node]], Group]:
    """Three videos in a row."""
    first = _stitch(sheet, frames[0]["images"], frames[1]["images"])
    second = _stitch(sheet, first["IMAGE"], frames[2]["images"])
    made, saved = parts.save(sheet, second["IMAGE"], name)
    return [[first], [second]], Group("Video", "video", [[made], [saved]])


def _grid(sheet: Sheet, frames: Sequence[Node], name: str) -> tuple[list[list[Node]], Group]:
    """Four videos, two by two."""
    upper = _stitch(sheet, frames[0]["images"], frames[1]["images"])
    lower = _stitch(sheet, frames[2]["images"], frames[3]["images"])
    whole = _stitch(sheet, upper["IMAGE"], lower["IMAGE"], "down")
    made, saved = parts.save(sheet, whole["IMAGE"], name)
    return [[upper, lower], [whole]], Group("Video", "video", [[made], [saved]])


def refine(sheet: Sheet) -> Groups:
    """A small video, then the large model's details."""
    begun = _begin(
        sheet,
        "Animates at 512 x 288, where motion is strong, then refines the frames at twice the size "
        "with the 1024 model.",
        [
            "*denoise* of the second sampler: 0.3 keeps all motion, 0.6 redraws more.",
            "Both loaders may load the same file.",
            "*scale_by* 2: set the second *Visual Detail Guidance* to the same size.",
        ],
        others=(files.DC_1024,),
    )
    model = begun.model
    image = begun.image
    large = parts.load(sheet, files.DC_1024)
    guided = parts.detail(sheet, model, begun.streams, image, height=288)
    sampled = parts.sampler(sheet, model["model"], guided)
    frames = parts.decode(sheet, model["vae"], sampled["latent"])
    scaled = sheet.add(
        "ImageScaleBy", wide=300, image=frames["images"], upscale_method="lanczos", scale_by=2.0
    )
    streams = parts.projection(
        sheet,
        large,
        begun.positive["CONDITIONING"],
        begun.negative["CONDITIONING"],
        begun.encoded,
    )
    again = parts.detail(sheet, large, streams, image, width=1024, height=576)
    latent = sheet.add("VAEEncode", wide=340, pixels=scaled["IMAGE"], vae=large["vae"])
    refined = parts.sampler(
        sheet, large["model"], again, latent=latent["LATENT"], seed=124, denoise=0.45
    )
    return [
        Group("Model", "model", [[model, begun.readme, large]]),
        *begun.groups()[1:],
        Group("Small", "detail", [[guided], [sampled], [frames], [scaled]]),
        Group("Large", "sample", [[streams], [again, latent], [refined]]),
        parts.ending(sheet, large["vae"], refined["latent"], "refine"),
    ]


def ksampler(sheet: Sheet) -> Groups:
    """ComfyUI's own sampler and decoder."""
    begun = _begin(
        sheet,
        "Animates one image with ComfyUI's own KSampler and VAE Decode. `euler` with `simple` "
        "equals our sampler at *eta* 0 without guidance rescale.",
        [
            "Any sampler; schedulers `simple`, `sgm_uniform`, `beta`, `normal`, `ddim_uniform`. "
            "Not `karras`, `exponential`.",
            "256 and VideoCrafter: scheduler `ddim_uniform`.",
            "Colours too strong: a lower *cfg*, for KSampler has no guidance rescale.",
        ],
    )
    model = begun.model
    guided = parts.detail(sheet, model, begun.streams, begun.image)
    sampled = sheet.add(
        "KSampler",
        model=model["model"],
        positive=guided["positive"],
        negative=guided["negative"],
        latent_image=guided["latent"],
        seed=123,
        steps=50,
        cfg=7.5,
        sampler_name="euler",
        scheduler="simple",
    )
    frames = sheet.add("VAEDecode", wide=260, samples=sampled["LATENT"], vae=model["vae"])
    made, saved = parts.save(sheet, frames["IMAGE"], "ksampler")
    return [
        *begun.groups(),
        Group("What it looks like", "detail", [[guided]]),
        Group("Sample", "sample", [[sampled]]),
        Group("Video", "video", [[frames], [made], [saved]]),
    ]


def prompt_travel(sheet: Sheet) -> Groups:
    """A prompt that changes over the frames."""
    readme = parts.note(
        sheet,
        "Animates one image with words that change on the way: each line of *Prompt Schedule* "
        "holds from its frame on.",
        [files.DC_512],
        [
            "*blend_frames*: how many frames one prompt takes to become the next.",
            "*length* must equal that of *Visual Detail Guidance*.",
            "More frames: *Long video* takes a schedule, too.",
        ],
    )
    model = parts.load(sheet, files.DC_512)
    shown = parts.picture(sheet, "Image to animate")
    positive = parts.schedule(
        sheet,
        model["clip"],
        "0: a girl with yellow hair stands still\n8: a girl with yellow hair waves her arms",
        title="Prompt Schedule: what moves, and when",
    )
    negative = parts.no_words(sheet, model["clip"])
    encoded = parts.context(sheet, model, shown["IMAGE"])
    streams = parts.projection(
        sheet, model, positive["conditioning"], negative["CONDITIONING"], encoded
    )
    begun = Plain(model, readme, shown, positive, negative, encoded, streams)
    return _one(sheet, begun, "prompt_travel")


def folder(sheet: Sheet) -> Groups:
    """Every picture of a folder, one video each."""
    readme = parts.note(
        sheet,
        "Animates every picture of a folder with one press of *Run*: one video each.",
        [files.DC_512],
        [
            "Make the folder `ComfyUI/input/pictures`, put your pictures there, press *R*, and "
            "choose it in *Folder of pictures*.",
            "One prompt serves all: `she smiles`, `the wind blows`.",
            "The videos are numbered as the system lists the pictures: by name on Windows, in no "
            "set order on Linux and macOS.",
        ],
    )
    model = parts.load(sheet, files.DC_512)
    shown = sheet.add(
        "LoadImageDataSetFromFolder", title="Folder of pictures", wide=360, folder="pictures"
    )
    positive = parts.words(sheet, model["clip"], "the wind blows, clouds drift by")
    negative = parts.no_words(sheet, model["clip"])
    encoded = parts.context(sheet, model, shown["images"])
    streams = parts.projection(
        sheet, model, positive["CONDITIONING"], negative["CONDITIONING"], encoded
    )
    begun = Plain(model, readme, shown, positive, negative, encoded, streams)
    return _one(sheet, begun, "folder")


def pruned(sheet: Sheet) -> Groups:
    """A pruned checkpoint with encoders from other files."""
    readme = parts.note(
        sheet,
        "Animates one image with a pruned 16-bit file, half the download of a full one. It lacks "
        "the text and image encoders: *Load CLIP* and *Load CLIP Vision* bring them.",
        [
            files.PRUNED_1024,
            files.PRUNED_INTERP,
            files.PRUNED_TOON,
            files.TEXT_ENCODER,
            files.IMAGE_ENCODER,
        ],
        [
            "*Load CLIP* type is `stable_diffusion`. Any text encoder of Stable Diffusion 2.1 and "
            "any OpenCLIP ViT-H image encoder will do.",
            "The interpolating file: *mode* `interpolate`, 512 x 320, and an *end_image*.",
            "Out of memory: 768 x 448, or *weight_dtype* `fp8_e4m3fn`.",
        ],
        column="what it is",
        more="The encoders belong in `models/text_encoders` and `models/clip_vision`. "
        "ComfyUI-Manager puts the checkpoints into folders below `checkpoints`: choose them there.",
    )
    model = parts.load(sheet, files.PRUNED_1024)
    text = sheet.add(
        "CLIPLoader", wide=360, clip_name=files.TEXT_ENCODER.name, type="stable_diffusion"
    )
    tower = sheet.add("CLIPVisionLoader", wide=360, clip_name=files.IMAGE_ENCODER.name)
    shown = parts.picture(sheet, "Image to animate")
    positive = parts.words(sheet, text["CLIP"], parts.EXAMPLE_WORDS)
    negative = parts.no_words(sheet, text["CLIP"])
    encoded = sheet.add(
        "DynamiCrafterContextEncode",
        wide=360,
        clip_vision=tower["CLIP_VISION"],
        image=shown["IMAGE"],
    )
    streams = parts.projection(
        sheet, model, positive["CONDITIONING"], negative["CONDITIONING"], encoded
    )
    begun = Plain(model, readme, shown, positive, negative, encoded, streams)
    rest = _one(sheet, begun, "pruned", width=1024, height=576)
    encoders = Group("Image and encoders", "picture", [[shown, text, tower]])
    return [rest[0], encoders, *rest[2:]]
