"""Trains the small autoencoder on endless frames of the small world.

`python -m research.small_world.train.vae --output vae.safetensors --minutes 30`
Started again with the same arguments it continues from its last state.
"""

import argparse
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dc_model.encoders.autoencoder import Autoencoder

from ..world.render import object_mask, render_frame
from ..world.scenes import make_scene

log = logging.getLogger(__name__)

KL_WEIGHT = 3e-4
OBJECT_WEIGHT = 4.0
PEAK_RATE = 2e-3


def frame_batch(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    """`size` frames `[B, 3, H, W]` in [-1, 1] and their loss weights `[B, 1, H, W]`.

    Pixels in and around the object weigh more: backgrounds are easy and most of the picture.
    """
    random = np.random.default_rng((seed, step))
    frames, masks = [], []
    for i in range(size):
        scene = make_scene(seed, step * size + i)
        progress = float(random.random())
        frames.append(render_frame(scene, progress))
        masks.append(object_mask(scene, progress))
    images = torch.from_numpy(np.stack(frames)) * 2 - 1
    mask = torch.from_numpy(np.stack(masks))[:, None]
    near = torch.nn.functional.max_pool2d(mask, 7, stride=1, padding=3)
    return images, 1 + OBJECT_WEIGHT * near


def vae_loss(
    vae: Autoencoder, images: Tensor, weights: Tensor, generator: torch.Generator
) -> Tensor:
    """Weighted L1 + MSE of a posterior sample's reconstruction, plus KL to N(0, 1)."""
    mean, logvar = vae.moments(images)
    noise = torch.randn(mean.shape, generator=generator)
    z = mean.float() + torch.exp(0.5 * logvar.float()) * noise
    error = vae.decoder(vae.post_quant_conv(z)).float() - images
    pixels = (weights * (error.abs() + error.square())).sum() / (weights.sum() * 3)
    kl = 0.5 * (mean.float().square() + logvar.float().exp() - 1 - logvar.float()).mean()
    return pixels + KL_WEIGHT * kl


def psnr(a: Tensor, b: Tensor, weights: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, images in [-1, 1], over the pixels of `weights`."""
    error = ((a - b).square() * weights).sum() / (weights.sum() * a.shape[1])
    return float(10 * torch.log10(4 / error))


@torch.no_grad()
def evaluate(vae: Autoencoder, count: int = 64) -> dict[str, float]:
    """Reconstruction of unseen frames: PSNR over all pixels and around the object."""
    images, weights = frame_batch(seed=99_991, step=0, size=count)
    with torch.autocast("cpu", torch.bfloat16):
        out = vae.decode(vae.encode(images)).float().clamp(-1, 1)
    return {
        "psnr": psnr(out, images, torch.ones_like(weights)),
        "psnr_object": psnr(out, images, (weights > 1).float()),
    }


@torch.no_grad()
def fold_latent_statistics(vae: Autoencoder, count: int = 512) -> None:
    """Give the latents std 1 after the 0.18215 scale, measured over `count` frames."""
    images, _ = frame_batch(seed=99_992, step=0, size=count)
    means = torch.cat([vae.moments(part)[0] for part in images.split(32)])
    vae.fold_statistics(means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3)))


def train(output: Path, *, minutes: float, batch_size: int = 16, seed: int = 1) -> None:
    """Train for `minutes` of work in all, over however many starts, then fold and save."""
    vae = Autoencoder()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99))
    averaged = {k: v.clone() for k, v in vae.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    state_file, step, spent = output.with_suffix(".state.pt"), 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        averaged, step, spent = state["averaged"], state["step"], state["spent"]
        generator.set_state(state["generator"])
    began, report = time.monotonic() - spent, spent
    while spent < minutes * 60:
        progress = spent / (minutes * 60)
        rate = PEAK_RATE * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 1e-5)
        images, weights = frame_batch(seed, step, batch_size)
        with torch.autocast("cpu", torch.bfloat16):
            loss = vae_loss(vae, images, weights, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for key, value in vae.state_dict().items():
                averaged[key].lerp_(value, 0.005)
        step, spent = step + 1, time.monotonic() - began
        if spent - report > 60:
            report = spent
            log.info("%.1f min, step %d, loss %.4f", spent / 60, step, float(loss))
            shadow = Autoencoder()
            shadow.load_state_dict(averaged)
            log.info("%s", evaluate(shadow))
            torch.save(
                {
                    "model": vae.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "averaged": averaged,
                    "generator": generator.get_state(),
                    "step": step,
                    "spent": spent,
                },
                state_file,
            )
    vae.load_state_dict(averaged)
    fold_latent_statistics(vae)
    log.info("after %d steps: %s", step, evaluate(vae))
    save_file(vae.state_dict(), output)


def load_vae(path: Path) -> Autoencoder:
    """The autoencoder in eval mode, frozen."""
    vae = Autoencoder()
    vae.load_state_dict(load_file(path))
    return vae.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(arguments.output, minutes=arguments.minutes, batch_size=arguments.batch_size)


if __name__ == "__main__":
    main()
