"""The 3D U-Net: an SD 2.x U-Net with temporal layers and a second, image cross-attention.

Reads like the published forward pass (docs/method.md#u-net), with three differences
(docs/differences.md#u-net): text and image tokens are separate arguments, so a long prompt never
reaches the image attention; keys and values are computed once per video; the decoder upsamples to
the skip's size, so any height and width work.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..frames import QUERIES_PER_FRAME, fold_frames, unfold_frames
from ..variants import UNetArch
from .attention import Conditions
from .blocks import ResBlock, Upsample
from .factory import BlockFactory
from .ops import Attention, Operations, sdpa, timestep_embedding
from .patches import Control, TransformerOptions, add_control, apply_each, patches
from .transformers import SpatialTransformer, TemporalTransformer

FrameTokens = Literal["auto", "shared", "resample"]


def frame_image_context(tokens: Tensor, num_frames: int, mode: FrameTokens) -> Tensor:
    """Image tokens as the frames see them.

    tokens: `[B, M, C]`, frame-major slots of 16. Returns `[B*T, 16, C]` (a slot per frame) or
    `[B, M, C]` (all tokens to every frame). `auto` is the published rule: a slot per frame when
    there are exactly 16 tokens for each, else all to every frame; `resample` interpolates the
    slots linearly to `num_frames`; `shared` never splits. Source: docs/method.md#frame-tokens.
    """
    slots = tokens.shape[1] // QUERIES_PER_FRAME
    if mode == "shared" or slots * QUERIES_PER_FRAME != tokens.shape[1]:
        return tokens
    if mode == "auto" and slots != num_frames:
        return tokens
    per_slot = tokens.unflatten(1, (slots, QUERIES_PER_FRAME))  # [B, F, 16, C]
    if slots != num_frames:
        flat = per_slot.flatten(2).transpose(1, 2)  # [B, 16*C, F]
        flat = nn.functional.interpolate(flat, num_frames, mode="linear", align_corners=True)
        per_slot = flat.transpose(1, 2).unflatten(2, (QUERIES_PER_FRAME, -1))  # [B, T, 16, C]
    return per_slot.flatten(0, 1)  # [B*T, 16, C]


class DynamiCrafterUNet(nn.Module):
    """Noise or velocity prediction for a video, by text, image tokens and concatenated latents.

    operations and attention come from the host or the trainer (`dc_model.unet.ops`).
    """

    def __init__(
        self,
        arch: UNetArch,
        *,
        operations: Operations = nn,  # type: ignore[assignment]
        attention: Attention = sdpa,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.arch = arch
        self.dtype = dtype or torch.float32
        self.gradient_checkpointing = False
        make = BlockFactory(arch, operations, attention, dtype, device)

        self.time_embed = make.embedding()
        if arch.speed_condition:
            self.fps_embedding = make.embedding()
        self.input_blocks, skips = make.encoder()
        if arch.init_attention:
            self.init_attn = nn.ModuleList([make.init_attention()])
        channels = skips[-1]
        self.middle_block = make.middle(channels)

        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(arch.channel_mult))):
            for i in range(arch.num_res_blocks + 1):
                width = mult * arch.model_channels
                attention_here = arch.attention_levels[level]
                stage = make.stage(channels + skips.pop(), width, attention_here)
                channels = width
                if level and i == arch.num_res_blocks:
                    stage.append(make.upsample(channels))
                self.output_blocks.append(stage)

        self.out = nn.Sequential(
            operations.GroupNorm(32, channels, dtype=dtype, device=device),
            nn.SiLU(),
            make.conv(channels, arch.out_channels),
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        image_context: Tensor | None = None,
        speed: Tensor | None = None,
        *,
        frame_tokens: FrameTokens = "auto",
        control: Control | None = None,
        transformer_options: TransformerOptions | None = None,
    ) -> Tensor:
        """Predict the model's output for one noise level per video.

        x: `[B, C, T, H, W]`, noisy latents followed by the concat latents on C; or `[B/G, ...]`,
        which G guidance branches share, one after the other in all else, with equal timesteps and
        speeds. What precedes the first cross-attention is then computed once.
        timesteps: `[B]`, 0 to 999. context: text tokens `[B, L, C]`, or `[B*T, L, C]` per frame.
        image_context: `[B, M, C]` from the query transformer. speed: `[B]`, frames per second or
        frame stride, as the variant says. transformer_options: a host's, with the user's factors
        of the gate lambda (`attention.IMAGE_STRENGTHS`). Returns `[B, out_channels, T, H, W]`.
        """
        options = {} if transformer_options is None else transformer_options
        num_frames = x.shape[2]
        h = fold_frames(x)  # [B*T, C, H, W]
        options["original_shape"] = [len(timesteps) * num_frames, *h.shape[1:]]
        options["transformer_index"] = 0
        conditions = Conditions(
            embedding=self._embedding(timesteps, speed, h, num_frames, options),
            text=context,
            image=self._image_context(image_context, num_frames, frame_tokens),
            num_frames=num_frames,
            options=options,
        )
        h, skips = self._encode(h, conditions, control)
        h = self._middle(h, conditions, control, timesteps)
        h = self._decode(h, skips, conditions, control)
        return unfold_frames(self.out(h), num_frames)  # [B, C, T, H, W]

    def _embedding(
        self,
        timesteps: Tensor,
        speed: Tensor | None,
        x: Tensor,
        num_frames: int,
        options: TransformerOptions,
    ) -> Tensor:
        width = self.arch.model_channels
        embedding = self.time_embed(timestep_embedding(timesteps, width).to(x.dtype))
        if self.arch.speed_condition:
            if speed is None:
                raise ValueError("This model needs `speed` (fps or frame stride), one per video.")
            embedding = embedding + self.fps_embedding(timestep_embedding(speed, width).to(x.dtype))
        embedding = embedding.repeat_interleave(num_frames, dim=0)  # [B*T, E]
        return apply_each(patches(options, "emb_patch"), embedding, width, options)

    def _image_context(
        self, tokens: Tensor | None, num_frames: int, frame_tokens: FrameTokens
    ) -> Tensor | None:
        if tokens is None or tokens.shape[1] == 0 or not self.arch.image_cross_attention:
            return None
        return frame_image_context(tokens, num_frames, frame_tokens)

    def _encode(
        self, h: Tensor, conditions: Conditions, control: Control | None
    ) -> tuple[Tensor, list[Tensor]]:
        options, skips = conditions.options, []
        for i, block in enumerate(self.input_blocks):
            options["block"] = ("input", i)
            h = self._run(block, h, conditions)
            if i == 0 and self.arch.init_attention:
                h = self._run(self.init_attn, h, conditions)
            h = add_control(h, control, "input")
            h = apply_each(patches(options, "input_block_patch"), h, options)
            skips.append(h)
            h = apply_each(patches(options, "input_block_patch_after_skip"), h, options)
        return h, [conditions.for_each_branch(skip) for skip in skips]

    def _middle(
        self, h: Tensor, conditions: Conditions, control: Control | None, timesteps: Tensor
    ) -> Tensor:
        options = conditions.options
        options["block"] = ("middle", 0)
        h = add_control(self._run(self.middle_block, h, conditions), control, "middle")
        for patch in patches(options, "middle_block_after_patch"):
            arguments = {"h": h, "emb": conditions.embedding, "context": conditions.text, "y": None}
            h = patch({**arguments, "timesteps": timesteps, "transformer_options": options})["h"]
        return h

    def _decode(
        self, h: Tensor, skips: list[Tensor], conditions: Conditions, control: Control | None
    ) -> Tensor:
        options = conditions.options
        for i, block in enumerate(self.output_blocks):
            options["block"] = ("output", i)
            skip = add_control(skips.pop(), control, "output")
            for patch in patches(options, "output_block_patch"):
                h, skip = patch(h, skip, options)
            h = torch.cat([h, skip], dim=1)
            del skip
            size = tuple(skips[-1].shape[-2:]) if skips else None
            h = self._run(block, h, conditions, size)
        return h

    def _run(self, block: Any, h: Tensor, conditions: Conditions, size: Any = None) -> Tensor:
        live = conditions.options
        recompute = self.gradient_checkpointing and self.training
        for layer in block:
            arguments: tuple[Any, ...] = ()
            if recompute:
                # The backward pass runs the layer again, when `live` has moved on.
                conditions = conditions._replace(options=dict(live))
            if isinstance(layer, ResBlock):
                arguments = (conditions.embedding[: len(h)], conditions.num_frames)
            elif isinstance(layer, (SpatialTransformer, TemporalTransformer)):
                arguments = (conditions,)
            elif isinstance(layer, Upsample):
                arguments = (size,)
            if recompute:
                h = checkpoint(layer, h, *arguments, use_reentrant=False)  # type: ignore[assignment]
            else:
                h = layer(h, *arguments)
            if isinstance(layer, SpatialTransformer):
                live["transformer_index"] += 1
        return h
