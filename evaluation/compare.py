"""FVD and KVD of one folder of videos against another.

`python -m evaluation.compare REAL GENERATED --extractor i3d_torchscript.pt`

Features are kept in `--work`, one file per video, so a stopped run continues and several
processes (`--part 0/4` ... `--part 3/4`) share the work; the last call, without `--part`, finds
everything done and prints the figures with their protocols.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import torch
from torch import Tensor

from dc_model.metrics.features import ScriptedExtractor
from dc_model.metrics.fvd import MIN_CLIPS, frechet_distance, kernel_distance
from dc_model.metrics.report import Distances, Protocol
from dc_model.shown import shown
from training.config import Count

from .command import EvaluationError, run, show, take_part
from .options import device, option
from .store import cached, identity
from .videos import ClipShape, VideoError, list_videos, read_clip

log = logging.getLogger(__name__)


class Extractor(Interface):
    """Videos `[N, T, 3, H, W]` in [0, 1] to features `[N, D]`. name: as a protocol prints it."""

    @property
    def name(self) -> str: ...

    def __call__(self, videos: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSet:
    """Videos and how clips are cut from them.

    source_stride: at which the files were cut from their source before, for the protocol.
    """

    name: str
    videos: Sequence[Path]
    shape: ClipShape
    source_stride: int = 1

    def protocol(self, clips: int, extractor: str) -> Protocol:
        return Protocol(
            dataset=self.name,
            clips=clips,
            frames=self.shape.frames,
            frame_stride=self.shape.stride * self.source_stride,
            resolution=self.shape.resolution,
            extractor=extractor,
        )


def extract_videos(
    videos: Sequence[Path], work: Path, shape: ClipShape, extractor: Extractor
) -> tuple[list[Tensor], int]:
    """Features `[D]` of each readable video, and how many were skipped."""
    rows, skipped = [], 0
    for video in videos:
        key = f"{identity(video)}|{shape}|{extractor.name}"
        try:
            rows.append(
                cached(work, key, lambda v=video: extractor(read_clip(v, shape)[None])[0].cpu())
            )
        except VideoError as error:
            log.warning("Skipped: %s", error)
            skipped += 1
    return rows, skipped


def compare(real: VideoSet, generated: VideoSet, work: Path, extractor: Extractor) -> Distances:
    """FVD and KVD of two sets. Raises EvaluationError when too few videos can be read."""
    features = []
    for which in (real, generated):
        rows, skipped = extract_videos(which.videos, work, which.shape, extractor)
        if len(rows) < MIN_CLIPS:
            raise EvaluationError(
                f"{shown(which.name)} gives {len(rows)} clips of {which.shape.frames} frames at "
                f"stride {which.shape.stride} and {skipped} unreadable videos; FVD and KVD need at "
                f"least {MIN_CLIPS} clips: give more videos."
            )
        features.append(torch.stack(rows))
    return Distances(
        fvd=frechet_distance(*features),
        kvd=kernel_distance(*features),
        real=real.protocol(len(features[0]), extractor.name),
        generated=generated.protocol(len(features[1]), extractor.name),
    )


def add_extractor_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """`--extractor`, `--preprocessing` and `--device`."""
    parser.add_argument(
        "--extractor", type=Path, required=required, help="TorchScript file, such as I3D's"
    )
    parser.add_argument(
        "--preprocessing",
        choices=("i3d", "none"),
        default="i3d",
        help="none: the network takes [N, 3, T, H, W] in 0 to 1",
    )
    parser.add_argument("--device", type=device, default="cpu")


def open_extractor(arguments: argparse.Namespace) -> ScriptedExtractor:
    """The extractor of the options."""
    return ScriptedExtractor(arguments.extractor, arguments.preprocessing, arguments.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real", type=Path)
    parser.add_argument("generated", type=Path)
    add_extractor_options(parser, required=True)
    parser.add_argument("--work", type=Path, default=Path("output/features"))
    parser.add_argument("--frames", type=option(Count), default=16)
    parser.add_argument("--stride", type=option(Count), default=3, help="of the real videos")
    parser.add_argument(
        "--size", type=option(Count), nargs=2, default=(256, 256), metavar=("H", "W")
    )
    parser.add_argument("--part", help="I/N: extract every N-th video only, from the I-th on")
    arguments = parser.parse_args()
    height, width = arguments.size
    cut = ClipShape(frames=arguments.frames, stride=arguments.stride, resolution=(height, width))
    plain = ClipShape(frames=arguments.frames, resolution=(height, width))
    real, generated = (
        VideoSet(name=f.name, videos=take_part(list_videos(f), arguments.part), shape=shape)
        for f, shape in ((arguments.real, cut), (arguments.generated, plain))
    )
    extractor = open_extractor(arguments)
    if arguments.part:
        for which in (real, generated):
            extract_videos(which.videos, arguments.work, which.shape, extractor)
        return
    show(compare(real, generated, arguments.work, extractor))


if __name__ == "__main__":
    run(main)
