"""PIC of a folder of videos against their input images.

`python -m evaluation.conformity VIDEOS IMAGES`

A video's input is the image, or the first frame of the video, of the same relative path in the
other folder, or else the only one of its name.
The published PIC uses DreamSim (`python -m pip install dreamsim`); `--distance pixels` needs
nothing and is another figure. Values are kept in `--work` as `compare` keeps features.
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dc_model.metrics.pic import (
    PerceptualDistance,
    dreamsim_distance,
    perceptual_input_conformity,
    pixel_distance,
)
from dc_model.metrics.report import Conformity
from dc_model.shown import shown
from training.config import Count
from training.data.entries import files_below
from training.data.video import is_picture

from .command import EvaluationError, run, show, take_part
from .options import device, option
from .pairing import Names, partner
from .store import cached, identity
from .videos import ClipShape, VideoError, list_videos, read_clip, read_image

log = logging.getLogger(__name__)

DISTANCES = {"dreamsim": "DreamSim (ensemble)", "pixels": "mean absolute difference of pixels"}


def input_images(folder: Path) -> list[Path]:
    """Images, or where there are none videos for their first frames. Raises VideoError."""
    return files_below(folder, lambda path: is_picture(path.name)) or list_videos(folder)


def pairs_of(videos: Path, images: Path) -> list[tuple[Path, Path]]:
    """Each video below a folder with its image. Raises EvaluationError where several fit."""
    own, others = (
        Names(file.relative_to(folder).as_posix() for file in files)
        for folder, files in ((videos, list_videos(videos)), (images, input_images(images)))
    )
    pairs = []
    for video in own:
        image = partner(video, own, others)
        if image is None:
            log.warning("Skipped: %s has no image of its name.", shown(video))
        else:
            pairs.append((videos / video, images / image))
    return pairs


def measure_videos(
    pairs: Iterable[tuple[Path, Path]],
    work: Path,
    shape: ClipShape,
    distance: PerceptualDistance,
    name: str,
) -> list[float]:
    """The PIC of each readable video and its image. name: of the distance."""
    values = []
    for video, image in pairs:
        key = f"PIC|{name}|{identity(video)}|{identity(image)}|{shape}"
        try:
            value = cached(work, key, lambda v=video, i=image: _conformity(v, i, shape, distance))
        except VideoError as error:
            log.warning("Skipped: %s", error)
            continue
        values.append(float(value))
    return values


def _conformity(video: Path, image: Path, shape: ClipShape, distance: PerceptualDistance) -> Tensor:
    picture, clip = read_image(image, shape.resolution), read_clip(video, shape)
    return torch.tensor(perceptual_input_conformity(picture, clip, distance), dtype=torch.float64)


def summarize(values: Sequence[float], shape: ClipShape, distance: str) -> Conformity:
    """The mean over videos with its protocol; EvaluationError when there are none."""
    if not values:
        raise EvaluationError("No video could be read with its image; look at the warnings above.")
    return Conformity(
        value=sum(values) / len(values),
        videos=len(values),
        frames=shape.frames,
        resolution=shape.resolution,
        fit="crop",
        distance=DISTANCES[distance],
        published=distance == "dreamsim",
    )


def open_distance(name: str, device: str) -> PerceptualDistance:
    """A distance by its name; ImportError, saying what to install, without DreamSim."""
    return pixel_distance if name == "pixels" else dreamsim_distance(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path)
    parser.add_argument("images", type=Path, help="images, or videos for their first frames")
    parser.add_argument("--distance", choices=tuple(DISTANCES), default="dreamsim")
    parser.add_argument("--work", type=Path, default=Path("output/features"))
    parser.add_argument("--frames", type=option(Count), default=16)
    parser.add_argument(
        "--size", type=option(Count), nargs=2, default=(256, 256), metavar=("H", "W")
    )
    parser.add_argument("--part", help="I/N: measure every N-th video only, from the I-th on")
    parser.add_argument("--device", type=device, default="cpu")
    arguments = parser.parse_args()
    height, width = arguments.size
    shape = ClipShape(frames=arguments.frames, resolution=(height, width))
    pairs = take_part(pairs_of(arguments.videos, arguments.images), arguments.part)
    distance = open_distance(arguments.distance, arguments.device)
    values = measure_videos(pairs, arguments.work, shape, distance, DISTANCES[arguments.distance])
    if not arguments.part:
        show(summarize(values, shape, arguments.distance))


if __name__ == "__main__":
    run(main)
