"""FVD and KVD between two sets of videos, by a network that the user supplies.

Source: paper 4.2; the formulas are `dc_model`'s, which `evaluation` uses as well.
"""

from pathlib import Path
from typing import cast

import folder_paths
from comfy_api.latest import io, ui
from torch import Tensor

from ..dc_model.metrics.features import Preprocessing, ScriptedExtractor, extract
from ..dc_model.metrics.fvd import MIN_CLIPS, frechet_distance, kernel_distance
from ..dc_model.metrics.report import Distances, Protocol
from ..dc_model.metrics.torchscript import ScriptError
from ..dc_model.shown import shown
from .checks import InputError
from .door import checked
from .inputs import CATEGORY, integer
from .metrics import claim_device, to_videos, watched

FOLDER = "feature_extractors"
SUFFIXES = (".pt", ".pth", ".ts", ".torchscript")
CLIPS_AT_ONCE = 4


def register_folder() -> None:
    """Make the host look for extractors in `models/feature_extractors`, beside what users add."""
    folder = Path(folder_paths.models_dir) / FOLDER
    folder_paths.add_model_folder_path(FOLDER, str(folder))


def extractor_names() -> list[str]:
    """The files in the extractors' folders."""
    names = folder_paths.get_filename_list(FOLDER)
    return [name for name in names if name.lower().endswith(SUFFIXES)]


def extractor_path(name: str) -> Path:
    """Where an extractor lies inside the model folders; InputError when it does not."""
    path = folder_paths.get_full_path(FOLDER, name) if name in extractor_names() else None
    if path is None:
        raise InputError(
            f"There is no feature extractor '{shown(name)}'; put the I3D TorchScript file "
            f"(i3d_torchscript.pt) into models/{FOLDER} and refresh the list."
        )
    return Path(path)


class VideoDistance(io.ComfyNode):
    """FVD and KVD between two sets of videos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterVideoDistance",
            display_name="Video Distance (FVD, KVD)",
            search_aliases=["metric", "frechet video distance"],
            category=f"{CATEGORY}/metrics",
            description="Compares two sets of videos by FVD and KVD, and reports how they were "
            "measured. Lower = more alike.",
            inputs=[
                io.Image.Input(
                    "real_images", tooltip="Frames of real videos, one video after another."
                ),
                io.Image.Input(
                    "generated_images", tooltip="Frames of generated videos, in the same size."
                ),
                io.Combo.Input(
                    "extractor_name",
                    options=extractor_names(),
                    tooltip=f"A TorchScript file in models/{FOLDER}, such as i3d_torchscript.pt.",
                ),
                io.Combo.Input(
                    "preprocessing",
                    options=["i3d", "none"],
                    default="i3d",
                    tooltip="i3d: as published for the I3D file: 224 x 224 pixels, range -1 to 1. "
                    "none: the network gets [clips, 3, frames, height, width] in 0 to 1, "
                    "unchanged.",
                ),
                integer(
                    "num_frames", 16, (1, 1024), "Frames of one clip, in both sets. Published: 16."
                ),
                integer(
                    "real_stride",
                    1,
                    (1, 64),
                    "Keeps every n-th real image before clips are cut. 1 = all; published: 3.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="fvd"),
                io.Float.Output(display_name="kvd"),
                io.String.Output(display_name="report"),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, extractor_name: str | None = None) -> bool | str:
        # None: it comes over a wire and is known later.
        if extractor_name is None:
            return True
        try:
            extractor_path(extractor_name)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    @checked
    def execute(
        cls,
        real_images: Tensor,
        generated_images: Tensor,
        extractor_name: str,
        preprocessing: str,
        num_frames: int,
        real_stride: int,
    ) -> io.NodeOutput:
        real = to_videos(real_images[::real_stride], num_frames, "real_images")
        generated = to_videos(generated_images, num_frames, "generated_images")
        require_comparable(real, generated)
        result = measure_distances(
            real, generated, extractor_path(extractor_name), preprocessing, real_stride
        )
        report = str(result)
        return io.NodeOutput(result.fvd, result.kvd, report, ui=ui.PreviewText(report))


def require_comparable(real: Tensor, generated: Tensor) -> None:
    """InputError unless both `[N, T, 3, H, W]` have enough clips, of one size."""
    for name, videos in (("real_images", real), ("generated_images", generated)):
        if len(videos) < MIN_CLIPS:
            raise InputError(
                f"{name} gives {len(videos)} clip of {videos.shape[1]} frames; FVD and KVD need at "
                f"least {MIN_CLIPS} clips, better hundreds: connect more videos."
            )
    sizes = [f"{videos.shape[-1]} x {videos.shape[-2]}" for videos in (real, generated)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"real_images are {sizes[0]} pixels and generated_images {sizes[1]}; bring both to one "
            "size first, for example with Upscale Image and its crop."
        )


def measure_distances(
    real: Tensor, generated: Tensor, path: Path, preprocessing: str, stride: int
) -> Distances:
    """FVD and KVD of `[N, T, 3, H, W]` in [0, 1]. stride: of the real frames in their source.

    Raises InputError for a file that cannot be used on them.
    """
    try:
        extractor = ScriptedExtractor(path, cast(Preprocessing, preprocessing), claim_device())
        run = watched(extractor, len(real) + len(generated))
        first, second = (extract(run, videos, CLIPS_AT_ONCE) for videos in (real, generated))
    except (ScriptError, ValueError) as error:
        raise InputError(str(error)) from error
    protocols = [
        Protocol(
            dataset=name,
            clips=len(videos),
            frames=videos.shape[1],
            frame_stride=its_stride,
            resolution=(videos.shape[-2], videos.shape[-1]),
            extractor=extractor.name,
        )
        for name, videos, its_stride in (("real", real, stride), ("generated", generated, 1))
    ]
    return Distances(
        fvd=frechet_distance(first, second),
        kvd=kernel_distance(first, second),
        real=protocols[0],
        generated=protocols[1],
    )


NODES = [VideoDistance]
