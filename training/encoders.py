"""The frozen encoders: VAE, text tower, image tower, tokenizer."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .autoencoder import Autoencoder
from .clip import Towers
from .data.clip import Clip

Tokenize = Callable[[list[str]], Tensor]
Pixels = Callable[[Tensor], Tensor]


@dataclass
class Encoders:
    """Clips to latents and tokens, in half precision where kept.

    preprocess: images in [-1, 1] to the image tower's input. keep: remember what was encoded, for
    sets that fit into memory; then latents are posterior means, else posterior samples, as
    published.
    """

    vae: Autoencoder
    towers: Towers
    tokenize: Tokenize
    preprocess: Pixels
    device: torch.device | str = "cpu"
    keep: bool = False
    _kept: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in (self.vae, self.towers):
            module.to(self.device).eval().requires_grad_(False)

    def _remember(self, clip: Clip, what: str, make: Callable[[], Tensor]) -> Tensor:
        if not self.keep:
            return make()
        if (clip.key, what) not in self._kept:
            self._kept[clip.key, what] = make().half().cpu()
        return self._kept[clip.key, what].to(self.device).float()

    @torch.no_grad()
    def latents(self, clip: Clip, generator: torch.Generator) -> Tensor:
        """`[C, T, h, w]`, times 0.18215."""
        return self._remember(clip, "latents", lambda: self._latents(clip.frames, generator))

    def _latents(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        if self.keep:
            z = self.vae.encode(frames.to(self.device))
        else:
            z = self.vae.sample(frames.to(self.device), generator)
        return z.float().transpose(0, 1)  # [C, T, h, w]

    @torch.no_grad()
    def image_tokens(self, clip: Clip, frame: int) -> Tensor:
        """`[257, D]` of one frame."""
        return self._remember(clip, f"image {frame}", lambda: self._tokens(clip.frames[frame]))

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
        return self.towers.text(self.tokenize(captions).to(self.device)).float()
