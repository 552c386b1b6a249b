"""ToonCrafter's VAE: a video decoder that looks at the first and the last frame again.

The encoder is Stable Diffusion's and also gives its hidden states; the decoder has a convolution
along time after each spatial block, and takes detail from the two reference frames by attention
(low levels) or by adding it to the first and last frame (high levels).

Source: docs/method.md#dual-reference-decoder. The published code cuts a video into chunks of 16
frames and decodes each as a video of its own; here a cut in time changes nothing (`pieces`), and
only the video's own first and last frame take the references' detail
(docs/differences.md#tooncrafter).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.vae_blocks import Encoder, LayerFactory, Posterior, decoder_levels, middle
from ..unet.ops import Attention, Operations, sdpa
from ..variants import MAX_LAYERS
from .pieces import Pieces, per_frame
from .vae_layers import FUSION_HEADS, ReferenceAddition, ReferenceAttention, VideoResBlock

# Frames that a layer computes at once; the published code decodes as many.
CHUNK_FRAMES = 16


class DualReferenceArch(NamedTuple):
    """Dimensions of a dual-reference VAE, readable from a checkpoint's shapes."""

    base_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 4
    fusion_levels: tuple[bool, ...] = (False, False, True, True)  # attention, else addition
    fusion_head_dim: int = 64

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.base_channels * mult for mult in self.channel_mult)


def detect_dual_reference_arch(shapes: Mapping[str, tuple[int, ...]]) -> DualReferenceArch:
    """Dimensions from key -> shape, keys without the `first_stage_model.` prefix.

    Raises KeyError when a defining key is missing, ValueError for more layers than any has.
    """
    base = shapes["encoder.conv_in.weight"][0]
    levels = _count(shapes, "encoder.down.{}.block.0.conv2.weight")
    widths = [shapes[f"encoder.down.{i}.block.0.conv2.weight"][0] for i in range(levels)]
    queries = [f"decoder.attn_refinement.{i}.to_q.weight" for i in range(levels)]
    inner = [shapes[q][0] for q in queries if q in shapes]
    return DualReferenceArch(
        base_channels=base,
        channel_mult=tuple(width // base for width in widths),
        num_res_blocks=_count(shapes, "encoder.down.0.block.{}.conv1.weight"),
        z_channels=shapes["decoder.conv_in.weight"][1],
        fusion_levels=tuple(q in shapes for q in queries),
        fusion_head_dim=inner[0] // FUSION_HEADS if inner else 64,
    )


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    if count > MAX_LAYERS:
        raise ValueError(f"it has {count} layers in a row, more than {MAX_LAYERS}")
    return count


class Decoder(nn.Module):
    """Video decoder with dual-reference refinement after each level and before the output."""

    def __init__(self, arch: DualReferenceArch, make: LayerFactory):
        super().__init__()
        channels = arch.widths[-1]
        self.conv_in = make.conv(arch.z_channels, channels)
        self.mid = middle(VideoResBlock, channels, make)
        self.up = decoder_levels(VideoResBlock, arch.widths, arch.num_res_blocks, make)
        channels = arch.widths[0]
        refinements: list[nn.Module] = [
            ReferenceAttention(width, arch.fusion_head_dim, make)
            if attends
            else ReferenceAddition(width, make)
            for width, attends in zip(arch.widths, arch.fusion_levels, strict=True)
        ]
        self.attn_refinement = nn.ModuleList([*refinements, ReferenceAddition(channels, make)])
        self.norm_out = make.norm(channels)
        self.conv_out = make.conv(channels, 3)
        self.conv_out.add_module("time_mix_conv", make.time_conv(3))

    def forward(
        self,
        z: Tensor,
        references: Sequence[Tensor] | None = None,
        chunk_frames: int = CHUNK_FRAMES,
        parking: torch.device | None = None,
    ) -> Tensor:
        """z: `[B, 4, T, h, w]`; references: five of `[B, C, 2, H, W]` or None.

        chunk_frames, parking: as in `DualReferenceVAE.decode`. Returns `[B, 3, T, 8h, 8w]`.
        """
        pieces = Pieces.cut(z, chunk_frames, parking)
        pieces.apply(per_frame(self.conv_in))
        self.mid.block_1.in_pieces(pieces)  # type: ignore[operator]
        pieces.apply(per_frame(self.mid.attn_1))  # type: ignore[arg-type]
        self.mid.block_2.in_pieces(pieces)  # type: ignore[operator]
        for level, stage in reversed(list(enumerate(self.up))):
            for block in stage.block:  # type: ignore[union-attr]
                block.in_pieces(pieces)
            self._refine(pieces, references, level)
            if hasattr(stage, "upsample"):
                pieces.apply(per_frame(partial(_double, stage.upsample.conv)))  # type: ignore[union-attr]
        pieces.apply(per_frame(lambda h: F.silu(self.norm_out(h))))
        self._refine(pieces, references, len(self.up))
        pieces.apply(per_frame(self.conv_out))
        return self.conv_out.time_mix_conv(pieces.whole())  # type: ignore[operator]

    def _refine(self, pieces: Pieces, references: Sequence[Tensor] | None, index: int) -> None:
        if references is None:
            return
        layer, reference = self.attn_refinement[index], references[index]

        def refine(h: Tensor, piece: int) -> Tensor:
            both = reference.to(h).expand(h.shape[0], -1, -1, -1, -1)
            return layer(h, both, pieces.ends(piece))

        pieces.apply(refine)


def _double(conv: nn.Module, h: Tensor) -> Tensor:
    return conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))


class DualReferenceVAE(Posterior):
    """Images to latents, and latents with two reference frames to a video.

    operations and attention come from the host or the trainer (`dc_model.unet.ops`).
    """

    def __init__(
        self,
        arch: DualReferenceArch,
        *,
        operations: Operations = nn,  # type: ignore[assignment]
        attention: Attention = sdpa,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.arch = arch
        make = LayerFactory(operations, attention, {"dtype": dtype, "device": device})
        self.encoder = Encoder(
            arch.base_channels, arch.widths, arch.num_res_blocks, arch.z_channels, make
        )
        self.decoder = Decoder(arch, make)
        self.quant_conv = make.conv(arch.z_channels * 2, arch.z_channels * 2, size=1)
        # In the checkpoints, but the published video decoding never applies it.
        self.post_quant_conv = make.conv(arch.z_channels, arch.z_channels, size=1)

    def encode(self, images: Tensor) -> Tensor:
        """images: `[N, 3, H, W]` in [-1, 1], sides multiples of 8.

        Returns the posterior's moments `[N, 8, H/8, W/8]`: mean, then log variance, unscaled.
        """
        return self.quant_conv(self.encoder(images))

    def encode_references(self, first: Tensor, last: Tensor) -> list[Tensor]:
        """Hidden states of the two reference frames, for `decode`.

        first, last: `[B, 3, H, W]` in [-1, 1]. Returns five tensors `[B, C, 2, H_i, W_i]`: the
        levels, finest first, then the first convolution. Raises ValueError when the sizes differ.
        """
        if first.shape != last.shape:
            raise ValueError(
                f"The first reference is {tuple(first.shape)} and the last one "
                f"{tuple(last.shape)}: give both the size of the video."
            )
        states = self.encoder.hidden_states(torch.cat([first, last]))
        return [torch.stack(state.chunk(2), dim=2) for state in states]  # [B, C, 2, H_i, W_i]

    def decode(
        self,
        latents: Tensor,
        references: Sequence[Tensor] | None = None,
        chunk_frames: int = CHUNK_FRAMES,
        parking: torch.device | None = None,
    ) -> Tensor:
        """Frames of a video; the same for any `chunk_frames`, up to rounding.

        latents: `[B, 4, T, h, w]`, divided by 0.18215. references: of `encode_references`, for one
        video or for each; None leaves the refinement out, so frames lose detail but keep their
        content. chunk_frames: frames that a layer computes at once. parking: where the others wait,
        None = beside them. Returns `[B, 3, T, 8h, 8w]`, about [-1, 1]. Raises ValueError when the
        references have another size than the video.
        """
        self._check_references(latents, references)
        return self.decoder(latents, references, chunk_frames, parking)

    def decode_published(
        self,
        latents: Tensor,
        references: Sequence[Tensor],
        chunk_frames: int = CHUNK_FRAMES,
        parking: torch.device | None = None,
    ) -> Tensor:
        """`decode` as the published pipeline does it, in two passes, against a jump in the middle.

        The second pass leaves out the second and the last but one frame; its two middle frames
        replace those of the first pass. Videos of fewer than 6 frames take one pass. Arguments,
        result and errors: of `decode`.
        """
        video = self.decode(latents, references, chunk_frames, parking)
        frames = latents.shape[2]
        if frames < 6:
            return video
        kept = [i for i in range(frames) if i not in (1, frames - 2)]
        again = self.decode(latents[:, :, kept], references, chunk_frames, parking)
        middle = frames // 2
        video[:, :, middle - 1 : middle + 1] = again[:, :, middle - 2 : middle]
        return video

    def _check_references(self, latents: Tensor, references: Sequence[Tensor] | None) -> None:
        if references is None:
            return
        factor = 2 ** (len(self.arch.widths) - 1)
        height, width = (side * factor for side in latents.shape[-2:])
        found = tuple(references[-1].shape[-2:])
        if found != (height, width):
            raise ValueError(
                f"The reference frames are {found[1]}x{found[0]} pixels, but the video is "
                f"{width}x{height}: give the references the size of the video."
            )
