"""Workflows in which motion is shown: by a path, by a camera, or by where it may be."""

from shipped import files, parts
from shipped.layout import Group
from shipped.parts import Plain
from shipped.sheet import Node, Output, Sheet

Groups = list[Group]


def _following(
    sheet: Sheet, begun: Plain, columns: list[list[Node]], made: Node, name: str
) -> Groups:
    """The model follows `made`, a reference with its mask; guidance, sampler, video.

    columns: of the nodes that show the motion.
    """
    model = begun.model
    followed = sheet.add(
        "DynamiCrafterReferenceMotion",
        model=model["model"],
        vae=model["vae"],
        reference=made["reference"],
        mask=made["mask"],
        weak_timestep=940,
        strong_timestep=860,
    )
    guided = parts.detail(sheet, model, begun.streams, begun.image)
    sampled = parts.sampler(sheet, followed["model"], guided)
    return [
        *begun.groups(),
        Group("Show the motion", "detail", columns),
        Group("Follow it", "detail", [[followed, guided]]),
        Group("Sample", "sample", [[sampled]]),
        parts.ending(sheet, model["vae"], sampled["latent"], name),
    ]


def drag(sheet: Sheet) -> Groups:
    """A part of the picture goes along a path."""
    readme = parts.note(
        sheet,
        "Drags a part of the picture along a path, here a box around the head. The model makes "
        "the rough video real.",
        [files.DC_512],
        [
            "Your own mask: *Load Image*, *Open in MaskEditor*; wire image and mask in place of "
            "the scaled one and the box.",
            "*path*: one point on a line, such as `320, 160`; look at the preview first.",
            "It strays: lower *strong_timestep*. It looks pasted: raise it.",
        ],
    )
    words = "a girl with yellow hair moves to the right"
    begun = parts.plain(sheet, files.DC_512, readme, text=words)
    image = _scaled(sheet, begun.image)
    nothing, box, mask = _box(sheet, "What moves: the box's place")
    made = sheet.add(
        "DynamiCrafterDragMotion", image=image["IMAGE"], mask=mask["MASK"], path="330, 150"
    )
    preview = sheet.add("PreviewImage", title="The path", wide=300, images=made["preview"])
    columns = [[image, nothing, box], [mask], [made], [preview]]
    return _following(sheet, begun, columns, made, "drag")


def camera(sheet: Sheet) -> Groups:
    """The camera moves by numbers."""
    readme = parts.note(
        sheet,
        "Moves the camera over the picture by numbers, not by words. The model draws what comes "
        "into view.",
        [files.DC_512],
        [
            "*move*: pans, zooms, rolls. Orbits need a depth picture.",
            "*amount* 0.25: a quarter of the picture; more leaves more to the model.",
            "A path of your own: *move* `path`, one camera on a line.",
        ],
    )
    words = "a girl with yellow hair, the camera moves to the right"
    begun = parts.plain(sheet, files.DC_512, readme, text=words)
    made = sheet.add(
        "DynamiCrafterCameraMotion", image=begun.image, move="pan_right", amount=0.25, path=""
    )
    return _following(sheet, begun, [[made]], made, "camera")


def _scaled(sheet: Sheet, image: Output) -> Node:
    """The picture at the video's size, on which masks are made."""
    return sheet.add(
        "ImageScale",
        wide=260,
        image=image,
        upscale_method="lanczos",
        width=512,
        height=320,
        crop="center",
    )


def region(sheet: Sheet) -> Groups:
    """One part of the picture moves, the rest stays the picture to the pixel."""
    readme = parts.note(
        sheet,
        "Moves one region, here a box around the head. All outside stays the picture, to the "
        "pixel: it is laid over the video there.",
        [files.DC_512],
        [
            "Your own mask: *Load Image*, *Open in MaskEditor*; wire image and mask in place of "
            "the scaled one and the box.",
            "Say in the prompt what moves inside.",
            "A visible edge: raise *soft_border*, or paint a larger mask.",
        ],
    )
    words = "a girl with yellow hair, the wind blows through her hair"
    begun = parts.plain(sheet, files.DC_512, readme, text=words)
    image = _scaled(sheet, begun.image)
    nothing, box, mask = _box(sheet, "What may move: the box's place")
    model = begun.model
    followed = sheet.add(
        "DynamiCrafterReferenceMotion",
        model=model["model"],
        vae=model["vae"],
        reference=image["IMAGE"],
        may_move=mask["MASK"],
    )
    guided = parts.detail(sheet, model, begun.streams, begun.image)
    sampled = parts.sampler(sheet, followed["model"], guided)
    frames = parts.decode(sheet, model["vae"], sampled["latent"])
    whole = sheet.add(
        "ImageCompositeMasked",
        title="The picture over what is held",
        wide=300,
        destination=frames["images"],
        source=image["IMAGE"],
        mask=followed["held"],
        x=0,
        y=0,
        resize_source=True,
    )
    made, saved = parts.save(sheet, whole["IMAGE"], "region")
    return [
        *begun.groups(),
        Group("Show where", "detail", [[image, nothing, box], [mask]]),
        Group("Hold the rest", "detail", [[followed, guided]]),
        Group("Sample", "sample", [[sampled]]),
        Group("Video", "video", [[frames], [whole], [made], [saved]]),
    ]


def _box(sheet: Sheet, title: str) -> tuple[Node, Node, Node]:
    """A mask of the scaled picture with a white box around the head: two parts and the whole."""
    nothing = sheet.add("SolidMask", title="Nothing", wide=260, value=0.0, width=512, height=320)
    box = sheet.add("SolidMask", title="The box's size", wide=260, value=1.0, width=150, height=180)
    mask = sheet.add(
        "MaskComposite",
        title=title,
        wide=260,
        destination=nothing["MASK"],
        source=box["MASK"],
        x=180,
        y=60,
        operation="add",
    )
    return nothing, box, mask
