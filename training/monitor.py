"""What a run shows: a progress bar, TensorBoard losses per timestep bucket, sample videos."""

import io
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dc_model.frames import fold_frames
from dc_model.preprocess import eight_bit
from dc_model.sampling.videos import sample_videos

from .batch import Batch
from .config import RunConfig
from .data.order import sample_generator
from .distributed import autocast, reshard
from .stages import bypass_temporal

if TYPE_CHECKING:
    from .trainer import Trainer


class Monitor:
    """Callbacks of a `Trainer`. Without TensorBoard or tqdm installed that part is left out."""

    def __init__(self, folder: Path, run: RunConfig):
        self.folder, self.run = folder, run
        self._writer: Any = None
        self._bar: Any = None
        self._last = time.monotonic()

    def writer(self, step: int | None = None) -> Any:
        """The TensorBoard writer, made at the first use; None where it is not installed.

        step: now; what a run that was killed wrote of later ones is no longer shown.
        """
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return None
            self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        return self._writer

    def step(self, step: int, loss: float, buckets: dict[str, float]) -> None:
        """After each optimizer step."""
        bar = self._progress(step)
        if bar is not None:
            bar.set_postfix(loss=f"{loss:.4f}")
            bar.update(step - bar.n)
            if step == self.run.steps:
                bar.close()
        if step % self.run.log_every == 0 and (writer := self.writer(step)) is not None:
            now = time.monotonic()
            writer.add_scalar("loss/all", loss, step)
            writer.add_scalar(
                "speed/seconds per step", (now - self._last) / self.run.log_every, step
            )
            self._last = now
            for name, value in buckets.items():
                writer.add_scalar(f"loss/t {name}", value, step)

    def _progress(self, step: int) -> Any:
        if self._bar is None:
            try:
                from tqdm import tqdm
            except ImportError:
                return None
            self._bar = tqdm(total=self.run.steps, initial=step - 1, unit="step")
        return self._bar

    def sample(self, step: int, trainer: "Trainer") -> None:
        """A clip of the averaged weights beside its true one. Every process must call it."""
        main = trainer.accelerator.is_main_process
        if not (main or trainer.sliced):
            return
        clip = trainer.source.load(0, 0)
        latents = sample_averaged(trainer, trainer.maker.undisturbed()([clip], [0]))
        writer = self.writer(step) if main else None
        if writer is None:
            return
        with torch.no_grad():
            frames = trainer.maker.encoders.vae.decode(fold_frames(latents)).float()
        _add_video(writer, "sample/generated", frames.clamp(-1, 1).cpu(), step)
        _add_video(writer, "sample/true", clip.frames[: len(frames)], step)


def one_bar() -> AbstractContextManager[None]:
    """Within it log lines pass above the progress bar instead of breaking it in two."""
    try:
        from tqdm.contrib.logging import logging_redirect_tqdm
    except ImportError:
        return nullcontext()
    return logging_redirect_tqdm()


def gif(frames: torch.Tensor, fps: int = 8) -> bytes:
    """`[T, 3, H, W]` in [-1, 1] as an animated GIF."""
    from PIL import Image

    pixels = eight_bit(frames).permute(0, 2, 3, 1).numpy()
    images = [Image.fromarray(p) for p in pixels]
    out = io.BytesIO()
    images[0].save(
        out, "GIF", save_all=True, append_images=images[1:], duration=1000 // fps, loop=0
    )
    return out.getvalue()


def _add_video(writer: Any, tag: str, frames: torch.Tensor, step: int) -> None:
    # The writer's own `add_video` needs moviepy; TensorBoard plays a GIF given as an image.
    from tensorboard.compat.proto.summary_pb2 import (
        Summary,  # pyright: ignore[reportAttributeAccessIssue] - generated code
    )

    height, width = frames.shape[-2:]
    image = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=gif(frames)
    )
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    writer.file_writer.add_summary(summary, step)


@torch.no_grad()
def sample_averaged(trainer: "Trainer", batch: Batch, steps: int = 25) -> torch.Tensor:
    """Latents `[B, C, T, h, w]` of the averaged weights, from fixed noise.

    batch: the conditions. Temporal layers are bypassed where the stage trains without them.
    """
    noise = torch.randn(batch.noisy.shape, generator=sample_generator(0, 0, purpose=9))
    bypass = bypass_temporal(trainer.raw.unet, trainer.stage.images_only)
    with trainer.averaged(), bypass, autocast(trainer.accelerator, trainer.config):
        trainer.raw.eval()
        latents = sample_videos(
            trainer.raw,
            trainer.maker.schedule,
            noise=noise.to(batch.noisy),
            concat=batch.concat,
            text=batch.text,
            null_text=trainer.maker.encoders.text([""]),
            image_tokens=batch.image_tokens,
            null_image_tokens=None if batch.image_tokens is None else batch.image_tokens * 0,
            speed=batch.speed,
            steps=steps,
            spacing=trainer.maker.variant.spacing,
        )
        trainer.raw.train()
        reshard(trainer.raw)
    return latents
