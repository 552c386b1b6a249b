"""PIC: how much videos still look like their input images.

Source: paper 4.2; the formula is `dc_model`'s, which `evaluation` uses as well.
"""

from pathlib import Path
from typing import cast

import folder_paths
from comfy_api.latest import io, ui
from torch import Tensor

from ..dc_model.metrics.pic import (
    MissingDreamSim,
    PerceptualDistance,
    dreamsim_distance,
    embedding_distance,
    perceptual_input_conformity,
    pixel_distance,
)
from ..dc_model.metrics.report import Conformity
from ..dc_model.preprocess import Fit
from .checks import REMEDIES, InputError, require
from .door import checked
from .host.pictures import fit_pictures
from .host.protocols import ClipVision
from .inputs import CATEGORY, fit_input, integer
from .metrics import claim_device, to_videos, watched

FRAMES_AT_ONCE = 8
DISTANCES = {
    "dreamsim": "DreamSim (ensemble)",
    "clip_vision": "1 - cosine of CLIP Vision embeddings",
    "pixels": "mean absolute difference of pixels",
}


class InputConformity(io.ComfyNode):
    """PIC of videos against their input images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterPIC",
            display_name="Perceptual Input Conformity (PIC)",
            search_aliases=["metric", "dreamsim", "input conformity"],
            category=f"{CATEGORY}/metrics",
            description="Measures how much a video still looks like its input image: the mean "
            "over frames of 1 - perceptual distance.",
            inputs=[
                io.Image.Input(
                    "images", tooltip="Frames of one or more videos, one video after another."
                ),
                io.Image.Input("image", tooltip="The input image, or one for each video."),
                io.Combo.Input(
                    "distance",
                    options=list(DISTANCES),
                    default="dreamsim",
                    tooltip="dreamsim: the published PIC; needs the dreamsim package. clip_vision "
                    "and pixels need nothing more, but cannot be compared with published figures.",
                ),
                integer(
                    "num_frames",
                    0,
                    (0, 1024),
                    "Frames of one video. 0 = as many videos as input images.",
                ),
                fit_input(
                    "How the input image is resized to the video; choose the same as in Visual "
                    "Detail Guidance."
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Only for distance clip_vision: the checkpoint's, or any from Load "
                    "CLIP Vision.",
                ),
            ],
            outputs=[io.Float.Output(display_name="pic"), io.String.Output(display_name="report")],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        images: Tensor,
        image: Tensor,
        distance: str,
        num_frames: int,
        fit: str,
        clip_vision: ClipVision | None = None,
    ) -> io.NodeOutput:
        result = measure_conformity(
            images, image, distance, num_frames, cast(Fit, fit), clip_vision
        )
        report = str(result)
        return io.NodeOutput(result.value, report, ui=ui.PreviewText(report))


def measure_conformity(
    images: Tensor,
    image: Tensor,
    distance: str,
    num_frames: int,
    fit: Fit,
    clip_vision: ClipVision | None,
) -> Conformity:
    """PIC of frames `[N*T, H, W, 3]` against images `[1 or N, H', W', 3]`, with its protocol.

    distance: a name in `DISTANCES`. num_frames: T, or 0 for as many videos as images. Raises
    InputError when counts do not fit or what the distance needs is missing.
    """
    videos = to_videos(images, num_frames or frames_of_each(images, image), "images")
    if len(image) not in (1, len(videos)):
        raise InputError(
            f"{len(image)} input images came with {len(videos)} videos; connect 1, or one for "
            "each video."
        )
    height, width = videos.shape[-2:]
    pictures = fit_pictures(image.float().clamp(0, 1).movedim(-1, 1), height, width, fit)
    return Conformity(
        value=mean_conformity(pictures, videos, choose_distance(distance, clip_vision)),
        videos=len(videos),
        frames=videos.shape[1],
        resolution=(height, width),
        fit=fit,
        distance=DISTANCES[distance],
        published=distance == "dreamsim",
    )


def frames_of_each(frames: Tensor, inputs: Tensor) -> int:
    """T when each input image has a video of its own; InputError when the frames do not divide."""
    rows, count = len(frames), len(inputs)
    if rows % count:
        raise InputError(
            f"images has {rows} frames, which do not divide among {count} input "
            "images; set num_frames, or connect 1 input image."
        )
    return rows // count


def mean_conformity(pictures: Tensor, videos: Tensor, distance: PerceptualDistance) -> float:
    """Mean over videos `[N, T, 3, H, W]` of the conformity to images `[1 or N, 3, H, W]`."""
    run = watched(distance, videos.shape[0] * videos.shape[1])
    pairs = zip(pictures.expand(len(videos), -1, -1, -1), videos, strict=True)
    values = [perceptual_input_conformity(p, v, run, FRAMES_AT_ONCE) for p, v in pairs]
    return sum(values) / len(values)


def choose_distance(name: str, clip_vision: ClipVision | None) -> PerceptualDistance:
    """The distance of a name in `DISTANCES`; InputError when what it needs is missing."""
    if name == "pixels":
        return pixel_distance
    if name == "clip_vision":
        encoder = require(clip_vision, "CLIP_VISION", REMEDIES["CLIP_VISION"])
        return embedding_distance(lambda images: embed_images(encoder, images))
    try:
        return dreamsim_distance(claim_device(), str(Path(folder_paths.models_dir) / "dreamsim"))
    except MissingDreamSim as error:
        raise InputError(str(error)) from error


def embed_images(clip_vision: ClipVision, images: Tensor) -> Tensor:
    """CLIP Vision's embeddings `[B, D]` of the whole images `[B, 3, H, W]` in [0, 1]."""
    return clip_vision.encode_image(images.movedim(1, -1), crop=False)["image_embeds"]


NODES = [InputConformity]
