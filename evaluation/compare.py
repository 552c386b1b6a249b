"""FVD and KVD of one folder of videos against another.

`python -m evaluation.compare REAL GENERATED --i3d i3d_torchscript.pt`

Features are kept in `--work`, one file per video, so a run that was stopped goes on and several
processes (`--part 0/4` ... `--part 3/4`) share the work; the last call, without `--part`, finds
everything done and prints the figures with their protocols.
"""

import argparse
import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .distances import frechet_distance, kernel_distance
from .features import I3D, Extractor
from .protocol import Protocol, Result
from .videos import ClipShape, VideoError, list_videos, read_clip

log = logging.getLogger(__name__)


def feature_file(work: Path, video: Path, shape: ClipShape, extractor: Extractor) -> Path:
    """Where a video's features are kept; another shape or extractor is another file."""
    key = f"{video.resolve()}|{shape}|{extractor.name}"
    return work / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"


def extract_folder(
    videos: Iterable[Path], work: Path, shape: ClipShape, extractor: Extractor
) -> tuple[np.ndarray, int]:
    """Features `[N, D]` of the readable videos, and how many were skipped."""
    work.mkdir(parents=True, exist_ok=True)
    rows, skipped = [], 0
    for video in videos:
        path = feature_file(work, video, shape, extractor)
        if not path.exists():
            try:
                clip = read_clip(video, shape)
            except VideoError as error:
                log.warning("Skipped: %s", error)
                skipped += 1
                continue
            temporary = path.with_suffix(".part.npy")
            np.save(temporary, extractor(clip[None])[0].double().numpy())
            temporary.replace(path)
        rows.append(np.load(path))
    if not rows:
        raise VideoError("No video could be read; see the warnings above.")
    return np.stack(rows), skipped


def compare(
    real: Path, generated: Path, work: Path, shape: ClipShape, extractor: Extractor
) -> list[Result]:
    """FVD and KVD of two folders. Generated clips are taken at stride 1 from frame 0."""
    cut = ClipShape(frames=shape.frames, resolution=shape.resolution)
    sets = []
    for folder, its_shape in ((real, shape), (generated, cut)):
        features, _ = extract_folder(list_videos(folder), work, its_shape, extractor)
        protocol = Protocol(
            dataset=folder.name,
            clips=len(features),
            frames=its_shape.frames,
            frame_stride=its_shape.stride,
            resolution=its_shape.resolution,
            extractor=extractor.name,
        )
        sets.append((features, protocol))
    (a, real_protocol), (b, generated_protocol) = sets
    return [
        Result(metric=name, value=value, real=real_protocol, generated=generated_protocol)
        for name, value in (("FVD", frechet_distance(a, b)), ("KVD", kernel_distance(a, b)))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real", type=Path)
    parser.add_argument("generated", type=Path)
    parser.add_argument("--i3d", type=Path, required=True, help="TorchScript file")
    parser.add_argument("--work", type=Path, default=Path("output/features"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--stride", type=int, default=3, help="of the real videos")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument("--part", help="I/N: extract every N-th video only, from the I-th on")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    extractor = I3D(arguments.i3d, arguments.device)
    height, width = arguments.size
    shape = ClipShape(frames=arguments.frames, stride=arguments.stride, resolution=(height, width))
    if arguments.part:
        index, count = (int(x) for x in arguments.part.split("/"))
        generated_shape = ClipShape(frames=shape.frames, resolution=shape.resolution)
        for folder, cut in ((arguments.real, shape), (arguments.generated, generated_shape)):
            extract_folder(list_videos(folder)[index::count], arguments.work, cut, extractor)
        return
    for result in compare(arguments.real, arguments.generated, arguments.work, shape, extractor):
        log.info("%s", result)


if __name__ == "__main__":
    main()
