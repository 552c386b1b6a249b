"""FVD and KVD of a checkpoint in the paper's protocols.

`python -m evaluation.checkpoint CHECKPOINT --protocol ucf101 --table clips.csv --i3d FILE`

The table has `path` and `caption` (for UCF-101 the class name). From each video a random clip at
stride 3 is cut; its first frame and the caption condition the model, with frame stride 3; the
generated clips are compared to the cut ones. Both sets are kept as videos under `--work`, so a
stopped run goes on, and `--part I/N` shares the work. Source: spec/users.md 4.2.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dc_model import vdg
from dc_model.variants import VARIANTS, Variant
from training.config import ConfigError, DataConfig, ModelConfig
from training.data.clip import Clip, ClipSource
from training.data.order import sample_seed
from training.data.sources import open_source
from training.encoders import Encoders
from training.load import build_encoders, build_model, clip_tokenizer, load_parts
from training.model import VideoModel
from training.objective import schedule_of
from training.sampling import sample_videos

from .compare import compare
from .features import I3D
from .protocol import MSRVTT, UCF101, PublishedProtocol
from .videos import ClipShape

log = logging.getLogger(__name__)

PROTOCOLS = {"ucf101": UCF101, "msrvtt": MSRVTT}


@dataclass(frozen=True)
class Generator:
    """A checkpoint that animates first frames."""

    model: VideoModel
    encoders: Encoders
    variant: Variant
    steps: int = 50
    cfg: float = 7.5
    eta: float = 1.0

    @torch.no_grad()
    def __call__(self, clip: Clip, seed: int) -> Tensor:
        """A clip `[T, 3, H, W]` in [-1, 1] from the first frame and the caption of `clip`."""
        generator = torch.Generator().manual_seed(seed)
        first = clip.frames[:1].to(self.encoders.device)
        concat = vdg.animate(self.encoders.vae.sample(first, generator), len(clip.frames))
        noise = torch.randn(concat.shape, generator=generator).to(concat)
        by_stride = self.variant.speed_unit == "frame_stride"
        speed = clip.frame_stride if by_stride else clip.fps
        latents = sample_videos(
            self.model,
            schedule_of(self.variant),
            noise=noise,
            concat=concat if self.model.unet.arch.in_channels == 8 else None,
            text=self.encoders.text([clip.caption]),
            null_text=self.encoders.text([""]),
            image_tokens=self.encoders.image_tokens(clip, 0)[None],
            null_image_tokens=self.encoders.null_image_tokens()[None],
            speed=torch.tensor([float(speed)], device=concat.device),
            steps=self.steps,
            cfg=self.cfg,
            guidance_rescale=self.variant.guidance_rescale,
            spacing=self.variant.spacing,
            eta=self.eta,
            generator=generator,
        )
        return self.encoders.vae.decode(vdg.fold_frames(latents.float())).clamp(-1, 1).cpu()


def write_video(path: Path, frames: Tensor) -> None:
    """`[T, 3, H, W]` in [-1, 1] as a lossless H.264 file, whole or not at all."""
    import av

    pixels = ((frames + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    temporary = path.with_name(f"{path.stem}.part{path.suffix}")
    with av.open(str(temporary), "w") as container:
        stream: Any = container.add_stream("libx264rgb", rate=8, options={"crf": "0"})
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "rgb24"
        for frame in pixels:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    temporary.replace(path)


def generate_set(
    generator: Generator, source: ClipSource, numbers: Sequence[int], work: Path, seed: int
) -> None:
    """Write the pairs `real/N.mp4` and `generated/N.mp4` that are not there yet."""
    for name in ("real", "generated"):
        (work / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        real, generated = (work / n / f"{number:05d}.mp4" for n in ("real", "generated"))
        if real.exists() and generated.exists():
            continue
        clip = source.load(number % len(source), sample_seed(seed, number))
        write_video(real, clip.frames)
        write_video(generated, generator(clip, sample_seed(seed, number, purpose=1)))
        log.info("Clip %d: %s", number, clip.caption)


def clip_numbers(clips: int, part: str | None) -> list[int]:
    """All numbers, or every N-th from the I-th on for the part "I/N". Raises ConfigError."""
    if part is None:
        return list(range(clips))
    try:
        index, count = (int(x) for x in part.split("/"))
    except ValueError:
        raise ConfigError(f"--part is {part!r}; write I/N, for example 0/4.") from None
    if not 0 <= index < count:
        raise ConfigError(f"--part is {part!r}; I runs from 0 to N - 1.")
    return list(range(index, clips, count))


def load_generator(arguments: argparse.Namespace) -> Generator:
    """The checkpoint with its encoders on the chosen device."""
    config = ModelConfig(checkpoint=str(arguments.checkpoint), encoders=arguments.encoders)
    parts = load_parts(config)
    tokenize = clip_tokenizer(arguments.tokenizer)
    encoders = build_encoders(parts, tokenize, device=arguments.device)
    model = build_model(parts, dropout=0.0).to(arguments.device).eval()
    variant = VARIANTS[arguments.variant]
    return Generator(model, encoders, variant, arguments.steps, arguments.cfg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), required=True)
    parser.add_argument("--table", required=True, help="CSV or Parquet: path, caption")
    parser.add_argument("--i3d", type=Path, required=True, help="TorchScript file")
    parser.add_argument("--variant", choices=tuple(VARIANTS), default="256")
    parser.add_argument("--encoders", default="", help="full checkpoint, for pruned ones")
    parser.add_argument("--tokenizer", default="", help="folder with vocab.json and merges.txt")
    parser.add_argument("--work", type=Path, default=Path("output/evaluation"))
    parser.add_argument("--clips", type=int, help="fewer than the protocol's")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--cfg", type=float, default=7.5)
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", help="I/N: generate every N-th clip only, from the I-th on")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    protocol: PublishedProtocol = PROTOCOLS[arguments.protocol]
    if arguments.clips:
        protocol = replace(protocol, clips=arguments.clips)
    stride = protocol.frame_stride
    data = DataConfig(
        kind="table",
        path=arguments.table,
        size=protocol.resolution,
        num_frames=protocol.frames,
        frame_strides=(stride, stride),
    )
    source = open_source(data, arguments.seed)
    numbers = clip_numbers(protocol.clips, arguments.part)
    generate_set(load_generator(arguments), source, numbers, arguments.work, arguments.seed)
    if arguments.part:
        return
    # The clips on disk are cut already: stride 1 here, the protocol's stride in the source.
    shape = ClipShape(frames=protocol.frames, resolution=protocol.resolution)
    extractor = I3D(arguments.i3d, arguments.device)
    folders = (arguments.work / "real", arguments.work / "generated")
    log.info("%s, source stride %d, first frame and %s", protocol.dataset, stride, protocol.prompt)
    for result in compare(*folders, arguments.work / "features", shape, extractor):
        log.info("%s", result)


if __name__ == "__main__":
    main()
