"""A clip cut along time that is computed, layer by layer, as if it were whole.

Two things reach across a cut. A convolution over three frames sees one frame on either side; and
group normalization takes its statistics from all frames, so no overlap makes up for a cut,
however long it is. So all pieces pass a layer before any passes the next: each sees the nearest
frames of its neighbours, and is normalized by the statistics of the whole clip.
"""

import math
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from ..frames import fold_frames, unfold_frames
from ..unet.ops import cast_like


class Pieces:
    """A clip `[B, C, T, H, W]` in pieces along time.

    device: where they are computed. parking: where they wait between two layers.
    """

    def __init__(self, parts: Sequence[Tensor], device: torch.device, parking: torch.device):
        self._parts, self.device, self.parking = [*parts], device, parking

    @classmethod
    def cut(cls, clip: Tensor, longest: int, parking: torch.device | None = None) -> "Pieces":
        """A clip `[B, C, T, H, W]` in pieces of nearly equal length, at most `longest` frames.

        parking: where the pieces wait that are not computed on; None = on the clip's device.
        Raises ValueError when `longest` is below 1.
        """
        if longest < 1:
            raise ValueError(f"Found pieces of {longest} frames; give them at least 1.")
        count = math.ceil(clip.shape[2] / longest)
        return cls(clip.tensor_split(count, dim=2), clip.device, parking or clip.device)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> Tensor:
        return self._parts[index].to(self.device)

    def ends(self, index: int) -> tuple[bool, bool]:
        """Whether a piece holds the clip's first and last frame."""
        return index == 0, index == len(self) - 1

    def apply(self, function: Callable[[Tensor, int], Tensor]) -> None:
        """Replace each piece `[B, C, t, H, W]` by `function(piece, index)`."""
        for i in range(len(self)):
            self._parts[i] = function(self[i], i).to(self.parking)

    def over_time(self, layers: nn.Sequential) -> "Pieces":
        """Through group normalization, then pointwise layers, then a convolution of 3 frames."""
        if len(self) == 1:
            return self._like([layers(self[0])])
        scale, shift = self._normalization(layers[0])  # type: ignore[arg-type]
        parts = []
        for i in range(len(self)):
            window = self._with_neighbours(i).float().mul_(scale).add_(shift)
            reached = layers[1:](window.to(self._parts[i].dtype))
            parts.append(self._without_neighbours(reached, i).to(self.parking))
        return self._like(parts)

    def whole(self) -> Tensor:
        """The clip `[B, C, T, H, W]`, on the device that computes."""
        parts = [self[i] for i in range(len(self))]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def _with_neighbours(self, index: int) -> Tensor:
        """A piece between the nearest frames of the pieces beside it."""
        before = [part[:, :, -1:] for part in self._parts[:index][-1:]]
        after = [part[:, :, :1] for part in self._parts[index + 1 :][:1]]
        parts = [*before, self._parts[index], *after]
        return torch.cat([part.to(self.device) for part in parts], dim=2)

    def _without_neighbours(self, window: Tensor, index: int) -> Tensor:
        starts, ends = self.ends(index)
        return window[:, :, 0 if starts else 1 : None if ends else -1]

    def _normalization(self, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """What `norm` multiplies by and adds, `[B, C, 1, 1, 1]`, by the statistics of the clip."""
        statistics = [_statistics(self[i], norm.num_groups) for i in range(len(self))]
        variances, means = (torch.stack(values) for values in zip(*statistics, strict=True))
        frames = [part.shape[2] for part in self._parts]
        shares = means.new_tensor(frames).div(sum(frames))[:, None, None]
        mean = (shares * means).sum(dim=0)  # [B, groups]
        variance = (shares * (variances + (means - mean) ** 2)).sum(dim=0)
        weight, bias = (
            cast_like(p, mean).unflatten(0, (norm.num_groups, -1)) for p in norm.parameters()
        )
        scale = weight / (variance + norm.eps).sqrt()[..., None]  # [B, groups, C / groups]
        shift = bias - mean[..., None] * scale
        return _per_channel(scale), _per_channel(shift)

    def _like(self, parts: list[Tensor]) -> "Pieces":
        return Pieces(parts, self.device, self.parking)


def per_frame(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    """A function of frames `[B*t, C, H, W]` as one of pieces, for `Pieces.apply`."""
    return lambda piece, _: unfold_frames(function(fold_frames(piece)), piece.shape[2])


def _per_channel(values: Tensor) -> Tensor:
    """`[B, groups, C / groups]` to `[B, C, 1, 1, 1]`."""
    return values.flatten(1)[:, :, None, None, None]


def _statistics(piece: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Variance and mean `[B, groups]` of a piece, float32."""
    values = rearrange(piece.float(), "b (g c) t h w -> b g (c t h w)", g=groups)
    return torch.var_mean(values, dim=2, correction=0)
