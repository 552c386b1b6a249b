"""ToonCrafter's sketch ControlNet: an SD 2.x encoder that sees one frame and its sketch at a time.

Only frames with a sketch are run; the others get residuals of zero, so a few sketches guide a video
of any length. Source: docs/method.md#sketch-controlnet.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checkpoint.detect import encoder_levels, require_heads
from ..checkpoint.errors import CheckpointError
from ..frames import fold_frames, frame_indices
from ..unet.attention import Conditions
from ..unet.blocks import ResBlock
from ..unet.factory import BlockFactory
from ..unet.ops import Attention, Operations, sdpa, timestep_embedding
from ..unet.transformers import SpatialTransformer
from ..variants import Shapes, UNetArch

# The published default of the residuals' weight.
STRENGTH = 0.6

# Widths of the hint's convolutions, each with its stride, up to the last, which has the model's.
HINT_WIDTHS = ((16, 1), (16, 1), (32, 2), (32, 1), (96, 2), (96, 1), (256, 2))


class SketchControlArch(NamedTuple):
    """Dimensions of a sketch ControlNet, all but `head_dim` readable from shapes."""

    in_channels: int = 4
    hint_channels: int = 1
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    head_dim: int = 64
    context_dim: int = 1024

    @property
    def unet(self) -> UNetArch:
        """The U-Net whose encoder this is, without layers along time and image attention."""
        return UNetArch(
            in_channels=self.in_channels,
            model_channels=self.model_channels,
            channel_mult=self.channel_mult,
            num_res_blocks=self.num_res_blocks,
            attention_levels=self.attention_levels,
            head_dim=self.head_dim,
            context_dim=self.context_dim,
            temporal_conv=False,
            image_cross_attention=False,
            dropout=0.0,
        )


def detect_sketch_control_arch(shapes: Shapes, head_dim: int = 64) -> SketchControlArch:
    """Dimensions from key -> shape of a file with bare keys.

    Raises CheckpointError when it is not a ControlNet, or has another layout or hint; ValueError
    when its widths are not made of heads.
    """
    hint = shapes.get("input_hint_block.0.weight")
    if hint is None or "zero_convs.0.0.weight" not in shapes:
        raise CheckpointError(
            "The file holds no sketch ControlNet (no input_hint_block, no zero_convs); choose "
            "ToonCrafter's sketch_encoder."
        )
    if hint[1] != 1:
        raise CheckpointError(
            f"The ControlNet's hints have {hint[1]} channels, a sketch has 1; load this file with "
            "Load ControlNet Model."
        )
    projection = "middle_block.1.proj_in.weight"
    if len(shapes.get(projection, ())) != 2:
        raise CheckpointError(
            f"The ControlNet's {projection} is {shapes.get(projection)}, a matrix was expected; "
            "choose ToonCrafter's sketch_encoder."
        )
    channels, in_channels = shapes["input_blocks.0.0.weight"][:2]
    widths, attends = encoder_levels(shapes)
    require_heads(widths, attends, head_dim)
    return SketchControlArch(
        in_channels=in_channels,
        hint_channels=hint[1],
        model_channels=channels,
        channel_mult=tuple(level[0] // channels for level in widths),
        num_res_blocks=len(widths[0]),
        attention_levels=attends,
        head_dim=head_dim,
        context_dim=shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
    )


class SketchControlNet(nn.Module):
    """Residuals for the U-Net's skips and middle block, frame by frame.

    operations and attention come from the host or the trainer (`dc_model.unet.ops`).
    """

    def __init__(
        self,
        arch: SketchControlArch,
        *,
        operations: Operations = nn,  # type: ignore[assignment]
        attention: Attention = sdpa,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.arch = arch
        self.dtype = dtype or torch.float32
        make = BlockFactory(arch.unet, operations, attention, dtype, device, temporal=False)
        self.time_embed = make.embedding()
        self.input_hint_block = _hint_layers(arch, make)
        self.input_blocks, widths = make.encoder()
        self.zero_convs = nn.ModuleList(nn.ModuleList([make.conv(w, w, 1)]) for w in widths)
        channels = widths[-1]
        self.middle_block = make.middle(channels)
        self.middle_block_out = nn.ModuleList([make.conv(channels, channels, 1)])

    def forward(self, x: Tensor, hint: Tensor, timesteps: Tensor, text: Tensor) -> list[Tensor]:
        """Residuals in the order of the encoder's blocks, the middle block's last.

        x: noisy latents `[N, 4, h, w]`. hint: `[N, 1, 8h, 8w]` in [0, 1]. timesteps: `[N]` or
        `[1]`. text: `[N, L, C]`, or fewer rows when N is a multiple of them. Returns
        `[N, C_i, h_i, w_i]` each.
        """
        embedding = timestep_embedding(timesteps, self.arch.model_channels).to(x.dtype)
        embedding = self.time_embed(embedding).expand(x.shape[0], -1)  # [N, E]
        conditions = Conditions(embedding, text, image=None, num_frames=1, options={})
        residuals = []
        h = x
        for i, (block, zero) in enumerate(zip(self.input_blocks, self.zero_convs, strict=True)):
            h = _run(block, h, conditions)
            if i == 0:
                h = h + self.input_hint_block(hint)
            residuals.append(_run(zero, h, conditions))
        h = _run(self.middle_block, h, conditions)
        return [*residuals, _run(self.middle_block_out, h, conditions)]


def _hint_layers(arch: SketchControlArch, make: BlockFactory) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = arch.hint_channels
    for outputs, stride in HINT_WIDTHS:
        layers += [make.conv(inputs, outputs, stride=stride), nn.SiLU()]
        inputs = outputs
    return nn.Sequential(*layers, make.conv(inputs, arch.model_channels))


def _run(block: Any, h: Tensor, conditions: Conditions) -> Tensor:
    for layer in block:
        if isinstance(layer, ResBlock):
            h = layer(h, conditions.embedding, conditions.num_frames)
        elif isinstance(layer, SpatialTransformer):
            h = layer(h, conditions)
        else:
            h = layer(h)
    return h


def sketch_control(
    network: SketchControlNet,
    x: Tensor,
    timesteps: Tensor,
    text: Tensor,
    hints: Tensor,
    frames: Sequence[int],
    strength: float = STRENGTH,
) -> Mapping[str, list[Tensor]]:
    """Control of a video in the layout that the U-Net consumes, from sketches of some frames.

    x: noisy latents `[B, 4, T, h, w]`. timesteps: `[B]`. text: `[B, L, C]`, or `[B*T, L, C]` per
    frame. hints: `[K, 1, 8h, 8w]` in [0, 1]. frames: the K frames that they belong to, negative
    ones count from the end. Returns `input` (empty), `middle` (one) and `output` (one for each
    skip), each residual `[B*T, C_i, h_i, w_i]`, zero for frames without a sketch. Raises ValueError
    when sketches and frames do not fit the video.
    """
    batch, _, num_frames, height, width = x.shape
    _check_size(hints, height * 8, width * 8)
    indices = torch.tensor(sketch_frames(frames, len(hints), num_frames), device=x.device)
    if text.shape[0] != batch:
        text = text.unflatten(0, (batch, num_frames))[:, indices].flatten(0, 1)  # [B*K, L, C]
    residuals = network(
        fold_frames(x[:, :, indices]),  # [B*K, 4, h, w]
        hints.to(x).repeat(batch, 1, 1, 1),
        timesteps.repeat_interleave(len(hints)),
        text,
    )
    spread = [_spread(r * strength, indices, batch, num_frames) for r in residuals]
    return {"input": [], "middle": spread[-1:], "output": spread[:-1]}


def sketch_frames(frames: Sequence[int], sketches: int, num_frames: int) -> list[int]:
    """Frames counted from the start. Raises ValueError when they do not fit sketches or video."""
    if len(frames) != sketches or not frames:
        raise ValueError(
            f"There are {sketches} sketches for {len(frames)} frames: name one frame for each."
        )
    return frame_indices(frames, num_frames, "Sketch frame")


def _check_size(hints: Tensor, height: int, width: int) -> None:
    if tuple(hints.shape[1:]) != (1, height, width):
        raise ValueError(
            f"The sketches are {tuple(hints.shape)}, expected [K, 1, {height}, {width}]: one "
            "channel, in the size of the video."
        )


def _spread(residual: Tensor, indices: Tensor, batch: int, num_frames: int) -> Tensor:
    """`[B*K, C, H, W]` to `[B*T, C, H, W]`, zeros elsewhere."""
    kept = residual.unflatten(0, (batch, -1))  # [B, K, C, H, W]
    full = kept.new_zeros(batch, num_frames, *kept.shape[2:])
    full[:, indices] = kept
    return full.flatten(0, 1)
