"""The frozen encoders: VAE, text tower, image tower, tokenizer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dc_model.encoders.autoencoder import Autoencoder
from dc_model.encoders.clip import Towers
from dc_model.encoders.tokenizer import Tokenize

from .cache import DiskCache, digest, fingerprint
from .data.clip import Clip

Pixels = Callable[[Tensor], Tensor]


@dataclass
class Encoders:
    """Clips to latents and tokens, in half precision where kept.

    preprocess: images in [-1, 1] to the image tower's input. keep: remember latents and image
    tokens, for sets that fit into memory. disk: remember these and text tokens in files. With
    either, latents are posterior means, else posterior samples, as published.
    """

    vae: Autoencoder
    towers: Towers
    tokenize: Tokenize
    preprocess: Pixels
    device: torch.device | str = "cpu"
    keep: bool = False
    disk: DiskCache | None = None
    _kept: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in (self.vae, self.towers):
            module.to(self.device).eval().requires_grad_(False)

    def use_disk(self, folder: Path, precision: str) -> None:
        """Remember in files below `folder`. precision: of the encoders' own autocast."""
        settings = (precision, f"{self.preprocess.__module__}.{self.preprocess.__qualname__}")
        self.disk = DiskCache(folder, fingerprint((self.vae, self.towers), *settings))

    def _remember(
        self, clip: Clip, what: str, pixels: Tensor, make: Callable[[], Tensor]
    ) -> Tensor:
        """What `make` encodes from `pixels`, from memory or disk where it is there."""
        if not self.keep:
            return self._on_disk(what, pixels, make).to(self.device)
        if (clip.key, what) not in self._kept:
            self._kept[clip.key, what] = self._on_disk(what, pixels, make).half().cpu()
        return self._kept[clip.key, what].to(self.device).float()

    def _on_disk(self, what: str, content: Tensor, make: Callable[[], Tensor]) -> Tensor:
        if self.disk is None:
            return make()
        name = f"{digest(content)}-{what.split()[0]}"
        found = self.disk.get(name)
        if found is None:
            found = make().half().cpu()
            self.disk.put(name, found)
        return found.float()

    @torch.no_grad()
    def latents(self, clip: Clip, generator: torch.Generator) -> Tensor:
        """`[C, T, h, w]`, times 0.18215."""
        frames = clip.frames
        return self._remember(clip, "latents", frames, lambda: self._latents(frames, generator))

    def _latents(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        if self.keep or self.disk is not None:
            z = self.vae.encode(frames.to(self.device))
        else:
            z = self.vae.sample(frames.to(self.device), generator)
        return z.float().transpose(0, 1)  # [C, T, h, w]

    @torch.no_grad()
    def image_tokens(self, clip: Clip, frame: int) -> Tensor:
        """`[257, D]` of one frame."""
        image = clip.frames[frame]
        return self._remember(clip, f"image {frame}", image, lambda: self._tokens(image))

    def _tokens(self, image: Tensor) -> Tensor:
        return self.towers.visual(self.preprocess(image[None].to(self.device)))[0].float()

    @torch.no_grad()
    def null_image_tokens(self) -> Tensor:
        """`[257, D]` of the mid-grey image, which stands for "no image"."""
        if ("", "null") not in self._kept:
            grey = torch.zeros(3, 224, 224)
            self._kept["", "null"] = self._tokens(grey).cpu()
        return self._kept["", "null"].to(self.device)

    @torch.no_grad()
    def text(self, captions: list[str]) -> Tensor:
        """`[B, 77, C]`; the empty caption stands for "no text"."""
        tokens = self.tokenize(captions)
        if self.disk is None:
            return self._text(tokens)
        rows = [self._on_disk("text", row, lambda r=row: self._text(r)) for row in tokens.split(1)]
        return torch.cat(rows).to(self.device)

    def _text(self, tokens: Tensor) -> Tensor:
        return self.towers.text(tokens.to(self.device)).float()
