"""FVD, KVD and PIC of a checkpoint in the paper's protocols.

`python -m evaluation.checkpoint CHECKPOINT --protocol ucf101 --dataset FOLDER --extractor FILE`

From each drawn video a random clip at stride 3 is cut; its first frame and the caption condition
the model, with frame stride 3; the generated clips are compared to the cut ones. FOLDER is the data
set as it is distributed; `--table` takes a CSV or Parquet file with `path` and `caption` instead.
Both sets are kept as videos under `--work`, so a stopped run continues, and `--part I/N` shares the
work; the last call, without `--part`, prints the figures. The protocols:
docs/metrics.md#a-checkpoint-in-the-papers-protocols.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dc_model import vdg
from dc_model.encoders.tokenizer import Tokenize
from dc_model.frames import fold_frames
from dc_model.metrics.pic import MissingDreamSim
from dc_model.pipeline import Pipeline, Settings, load
from dc_model.shown import shown
from dc_model.variants import VARIANTS
from training.config import Amount, Count, CountOrNone, DataConfig, Side
from training.data.clip import Clip, ClipSource
from training.data.order import item_of, sample_seed
from training.data.sources import VideoSource
from training.load import tokenizer_of

from .command import EvaluationError, run, show, take_part
from .compare import (
    VideoSet,
    add_extractor_options,
    compare,
    extract_videos,
    open_extractor,
)
from .conformity import DISTANCES, measure_videos, open_distance, summarize
from .datasets import entries_of
from .options import option
from .protocol import Clips
from .published import PUBLISHED, PublishedProtocol
from .store import require_same_settings
from .videos import ClipShape, write_video

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generator:
    """A checkpoint that animates first frames."""

    pipeline: Pipeline
    steps: int = 50
    cfg: float = 7.5
    eta: float = 1.0

    @torch.no_grad()
    def __call__(self, clip: Clip, seed: int) -> Tensor:
        """A clip `[T, 3, H, W]` in [-1, 1] from the first frame and the caption of `clip`."""
        pipeline, generator = self.pipeline, torch.Generator().manual_seed(seed)
        first = clip.frames[:1].to(pipeline.device)
        # As published, of the posterior's distribution and not its mean.
        concat = vdg.animate(pipeline.vae.sample(first, generator), len(clip.frames))
        by_stride = pipeline.variant.speed_unit == "frame_stride"
        settings = Settings(
            speed=clip.frame_stride if by_stride else clip.fps,
            steps=self.steps,
            cfg=self.cfg,
            eta=self.eta,
        )
        latents = pipeline.sample(concat, [clip.caption], first, settings, generator=generator)
        return fold_frames(pipeline.decode(latents))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Where the cut and the generated clips lie, by number."""

    work: Path

    def files(self, name: str, numbers: Sequence[int]) -> list[Path]:
        return [self.work / name / f"{number:05d}.mp4" for number in numbers]

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """The numbers that lack one of the two."""
        pairs = zip(self.files("real", numbers), self.files("generated", numbers), strict=True)
        whole = [real.exists() and generated.exists() for real, generated in pairs]
        return [number for number, done in zip(numbers, whole, strict=True) if not done]


def generate_set(
    generator: Callable[[Clip, int], Tensor],
    source: ClipSource,
    numbers: Sequence[int],
    work: Path,
    seed: int,
) -> None:
    """Write the pairs `real/N.mp4` and `generated/N.mp4` that are not there yet.

    The videos are drawn without replacement by `seed`; a clip depends on its number alone.
    """
    for name in ("real", "generated"):
        (work / name).mkdir(parents=True, exist_ok=True)
    pairs = Pairs(work)
    for number in pairs.missing(numbers):
        clip = source.load(item_of(seed, number, len(source)), sample_seed(seed, number))
        write_video(pairs.files("real", [number])[0], clip.frames)
        frames = generator(clip, sample_seed(seed, number, purpose=1))
        write_video(pairs.files("generated", [number])[0], frames)
        log.info("Clip %d: %s", number, clip.caption)


def require_known_words(tokenize: Tokenize, captions: Sequence[str]) -> None:
    """EvaluationError for a word that the demo model's tokenizer, the default, does not have."""
    try:
        tokenize(list(captions))
    except KeyError as error:
        raise EvaluationError(
            f"The demo model's vocabulary, the default, lacks {error} of the captions; give "
            "--tokenizer FOLDER with CLIP's vocab.json and merges.txt, such as ComfyUI's "
            "comfy/sd1_tokenizer."
        ) from None


def load_generator(arguments: argparse.Namespace) -> Generator:
    """The checkpoint with its encoders on the chosen device."""
    pipeline = load(
        arguments.checkpoint,
        tokenizer=tokenizer_of(arguments.tokenizer),
        variant=arguments.variant,
        encoders=arguments.encoders or None,
        device=arguments.device,
    )
    return Generator(pipeline, arguments.steps, arguments.cfg, arguments.eta)


def protocol_of(arguments: argparse.Namespace) -> PublishedProtocol:
    """The published protocol, with what the options change."""
    protocol = PUBLISHED[arguments.protocol]
    height, width = arguments.size or protocol.resolution
    return replace(
        protocol,
        clips=protocol.clips if arguments.clips is None else arguments.clips,
        frame_stride=protocol.frame_stride if arguments.stride is None else arguments.stride,
        resolution=(height, width),
    )


def settings_of(arguments: argparse.Namespace, protocol: PublishedProtocol) -> dict[str, object]:
    """All that decides what the clip of a number is; not how many there are."""
    checkpoint: Path = arguments.checkpoint
    return {
        "checkpoint": f"{checkpoint.name}, {checkpoint.stat().st_size} bytes",
        "encoders": arguments.encoders,
        "tokenizer": arguments.tokenizer,
        "variant": arguments.variant,
        "videos": str((arguments.dataset or arguments.table or Path()).resolve()),
        "protocol": protocol.dataset,
        "frames": protocol.frames,
        "frame_stride": protocol.frame_stride,
        "resolution": protocol.resolution,
        "steps": arguments.steps,
        "cfg": arguments.cfg,
        "eta": arguments.eta,
        "seed": arguments.seed,
    }


def open_videos(arguments: argparse.Namespace, protocol: PublishedProtocol) -> VideoSource:
    """The data set's videos, cut as the protocol says. EvaluationError when they are too few."""
    entries = entries_of(arguments.protocol, arguments.dataset, arguments.table, arguments.seed)
    if len(entries) < protocol.clips:
        raise EvaluationError(
            f"{shown(arguments.dataset or arguments.table)} holds {len(entries)} videos, the "
            f"protocol wants {protocol.clips} clips; set --clips to {len(entries)} or give more "
            "videos."
        )
    stride = protocol.frame_stride
    config = DataConfig(
        size=protocol.resolution, num_frames=protocol.frames, frame_strides=(stride, stride)
    )
    return VideoSource(entries, config)


def sets_of(
    protocol: PublishedProtocol, numbers: Sequence[int], work: Path
) -> tuple[VideoSet, VideoSet]:
    """The cut and the generated clips of these numbers."""
    # The clips on disk are cut already: stride 1 here, the protocol's stride in the source.
    shape = ClipShape(frames=protocol.frames, resolution=protocol.resolution)
    pairs, stride = Pairs(work), protocol.frame_stride
    real = pairs.files("real", numbers)
    return (
        VideoSet(name=protocol.dataset, videos=real, shape=shape, source_stride=stride),
        VideoSet(name="generated", videos=pairs.files("generated", numbers), shape=shape),
    )


def show_conformity(
    real: VideoSet, generated: VideoSet, work: Path, distance: str, device: str
) -> None:
    """Print PIC against the cut clips' first frames, or why it was not computed."""
    try:
        measure = open_distance(distance, device)
    except MissingDreamSim as error:
        show(error)
        return
    pairs = zip(generated.videos, real.videos, strict=True)
    values = measure_videos(pairs, work, generated.shape, measure, DISTANCES[distance])
    show(summarize(values, generated.shape, distance))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--protocol", choices=tuple(PUBLISHED), required=True)
    parser.add_argument("--dataset", type=Path, help="folder of UCF-101 or MSR-VTT")
    parser.add_argument("--table", type=Path, help="CSV or Parquet: path, caption")
    add_extractor_options(parser, required=False)
    parser.add_argument("--pic", choices=tuple(DISTANCES), default="dreamsim")
    parser.add_argument("--variant", choices=("auto", *VARIANTS), default="auto")
    parser.add_argument("--encoders", default="", help="full checkpoint, for pruned ones")
    parser.add_argument("--tokenizer", default="", help="folder with vocab.json and merges.txt")
    parser.add_argument("--work", type=Path, default=Path("output/evaluation"))
    parser.add_argument("--clips", type=option(Clips), help="fewer than the protocol's")
    parser.add_argument(
        "--size", type=option(Side), nargs=2, metavar=("H", "W"), help="not the protocol's"
    )
    parser.add_argument("--stride", type=option(Count), help="not the protocol's")
    parser.add_argument("--steps", type=option(Count), default=50)
    parser.add_argument("--cfg", type=option(Amount), default=7.5)
    parser.add_argument("--eta", type=option(Amount), default=1.0)
    parser.add_argument("--seed", type=option(CountOrNone), default=123)
    parser.add_argument("--part", help="I/N: generate every N-th clip only, from the I-th on")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if not arguments.checkpoint.is_file():
        raise EvaluationError(f"There is no checkpoint {shown(arguments.checkpoint)}; give a file.")
    if not (arguments.extractor or arguments.part):
        raise EvaluationError("Give --extractor FILE; only calls with --part go without.")
    protocol, work = protocol_of(arguments), arguments.work
    numbers = take_part(range(protocol.clips), arguments.part)
    extractor = open_extractor(arguments) if arguments.extractor else None
    source = open_videos(arguments, protocol)
    if not arguments.tokenizer:
        require_known_words(tokenizer_of(""), [entry.caption for entry in source.entries])
    require_same_settings(work, settings_of(arguments, protocol))
    # A model takes long to load, and the last of several calls finds all clips made.
    if Pairs(work).missing(numbers):
        generate_set(load_generator(arguments), source, numbers, work, arguments.seed)
    real, generated = sets_of(protocol, numbers, work)
    features = work / "features"
    if arguments.part and extractor is not None:
        for which in (real, generated):
            extract_videos(which.videos, features, which.shape, extractor)
    if arguments.part or extractor is None:
        return
    show(
        f"{protocol.dataset}, {arguments.checkpoint.name} from the first frame and the "
        f"{protocol.prompt}, frame stride {protocol.frame_stride}: {arguments.steps} DDIM steps, "
        f"cfg {arguments.cfg}, eta {arguments.eta}, seed {arguments.seed}"
    )
    show(compare(real, generated, features, extractor))
    show_conformity(real, generated, features, arguments.pic, arguments.device)


if __name__ == "__main__":
    run(main)
