"""The published method in a few lines over the plain networks, to hold the server's runs against.

Formulas: docs/method.md#sampling.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dc_model.checkpoint.detect import detect_unet_arch
from dc_model.checkpoint.layout import shapes, split_checkpoint, unwrap
from dc_model.frames import fold_frames, unfold_frames
from dc_model.toon.dual_reference_vae import DualReferenceVAE, detect_dual_reference_arch
from dc_model.unet.unet import DynamiCrafterUNet

LATENT_SCALE = 0.18215


def video_rows(video: Tensor) -> Tensor:
    """`[N, 4, T, h, w]` scaled latents as a LATENT's rows `[N*T, 4, h, w]`, unscaled."""
    return fold_frames(video) / LATENT_SCALE


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint in any layout, in fp32."""
    safe = path.suffix == ".safetensors"
    tensors = load_file(path) if safe else unwrap(torch.load(path, weights_only=True))
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


class Reference:
    """A checkpoint's plain networks and its published DDIM without fresh noise.

    schedule: a file whose schedule buffers stand for those that `path` lacks or has rounded.
    """

    def __init__(self, path: Path, variant: str, schedule: Path | None = None):
        parts = split_checkpoint(read(path))
        self.videocrafter = variant.startswith("videocrafter")
        self.trailing = not (self.videocrafter or variant == "256")
        self.unet = DynamiCrafterUNet(detect_unet_arch(shapes(parts.unet)), device="meta")
        self.unet.load_state_dict(parts.unet, assign=True)
        self.unet.eval().requires_grad_(False)
        buffers = parts.buffers if schedule is None else read(schedule)
        self.alphas = buffers["alphas_cumprod"].double()
        self.scale = buffers.get("scale_arr", torch.ones(1000)).double()
        self.vae_weights = parts.vae

    def dual_reference_vae(self) -> DualReferenceVAE:
        vae = DualReferenceVAE(detect_dual_reference_arch(shapes(self.vae_weights)))
        vae.load_state_dict(self.vae_weights)
        return vae.eval().requires_grad_(False)

    def grid(self, steps: int, start: int = 1000) -> list[int]:
        """Timesteps, rising."""
        if self.trailing:
            back = [round(start - i * start / steps) - 1 for i in range(steps)]
            return back[::-1]
        return [t + 1 for t in range(0, start, start // steps)]

    def predict(
        self, x: Tensor, t: int, text: Tensor, speed: int, image: Tensor | None, concat: Tensor
    ) -> Tensor:
        """The network's output for one video `[1, 4, T, h, w]`."""
        return self.unet(
            torch.cat([x.float(), concat], dim=1),
            torch.tensor([t]),
            text,
            image,
            torch.tensor([speed]),
        ).double()

    def sample(
        self,
        noise: Tensor,
        conditions: Sequence[tuple[Tensor, Tensor | None]],
        cfg: float,
        speed: int,
        steps: int,
        concat: Tensor | None = None,
        start: int = 1000,
    ) -> Tensor:
        """Latents `[N*T, 4, h, w]`, unscaled, of one video.

        noise: the start, `[T, 4, h, w]`. conditions: (text, image context) of positive and
        negative. concat: unscaled rows for an image-to-video model.
        """
        frames = noise.shape[0]
        x = unfold_frames(noise, frames).double()
        extra = torch.zeros(1, 0, *x.shape[2:])
        if concat is not None:
            extra = unfold_frames(concat * LATENT_SCALE, frames)
        grid = self.grid(steps, start)
        for i in reversed(range(len(grid))):
            t = grid[i]
            cond, uncond = (
                self.predict(x, t, text, speed, image, extra) for text, image in conditions
            )
            x = self._step(x, uncond + cfg * (cond - uncond), t, grid[i - 1] if i else None)
        return video_rows(x.float())

    def _step(self, x: Tensor, output: Tensor, t: int, earlier: int | None) -> Tensor:
        a = self.alphas[t]
        a_next = self.alphas[0 if earlier is None else earlier]
        signal, spread = a.sqrt(), (1 - a).sqrt()
        if self.trailing:  # the models that predict v
            eps, clean = signal * output + spread * x, signal * x - spread * output
        else:
            eps, clean = output, (x - spread * output) / signal
        if self.videocrafter:
            clean = clean / self.scale[t] * self.scale[0 if earlier is None else earlier]
        elif earlier is not None:
            clean = clean * self.scale[earlier] / self.scale[t]
        return a_next.sqrt() * clean + (1 - a_next).sqrt() * eps
