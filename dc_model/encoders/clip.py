"""CLIP's two towers in open_clip's key layout, any width.

Text keys go below `cond_stage_model.model.`, image keys below `embedder.model.visual.`. As in the
published models the text context is what comes out of the last but one block, normalised by
`ln_final`, and the image context is every token after the last block, without `ln_post`.
`transformers` has these towers, too, under other keys and with separate projections; converting a
checkpoint there and back is more code than the towers are.
Source: docs/method.md#context-stream; Radford et al. 2021, "Learning Transferable Visual Models".
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..checkpoint.detect import count_heads

CONTEXT_LENGTH = 77
VOCABULARY = 49408
IMAGE_SIZE = 224
PATCH = 14


class TowersArch(NamedTuple):
    """Widths of the towers and of one attention head in each."""

    text_width: int = 64
    text_layers: int = 3
    text_head: int = 64
    vision_width: int = 80
    vision_layers: int = 3
    vision_head: int = 80


def detect_towers(
    shapes: Mapping[str, tuple[int, ...]], text_head: int = 64, vision_head: int = 80
) -> TowersArch:
    """The widths from key -> shape, keys below `text.` and, where there, `visual.`.

    Raises KeyError where they are not there, ValueError for widths that are not made of heads.
    """

    def layers(prefix: str) -> int:
        start = f"{prefix}.transformer.resblocks."
        return 1 + max(int(k[len(start) :].split(".")[0]) for k in shapes if k.startswith(start))

    arch = TowersArch(
        text_width=shapes["text.ln_final.weight"][0],
        text_layers=layers("text"),
        text_head=text_head,
        vision_head=vision_head,
    )
    count_heads(arch.text_width, text_head)
    if "visual.class_embedding" not in shapes:
        return arch
    count_heads(shapes["visual.class_embedding"][0], vision_head)
    return arch._replace(
        vision_width=shapes["visual.class_embedding"][0], vision_layers=layers("visual")
    )


class SelfAttention(nn.Module):
    """Multi-head self-attention with open_clip's packed keys; x: `[B, L, width]`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=self.heads) for part in qkv)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # [B, heads, L, L]
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        out = scores.softmax(dim=-1).to(v.dtype) @ v
        return self.out_proj(rearrange(out, "b h n d -> b n (h d)"))


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm and added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Transformer(nn.Module):
    """The blocks of one tower; callers run them."""

    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))


class TextTower(nn.Module):
    """Causal text transformer; `forward` gives the U-Net's text context."""

    def __init__(self, arch: TowersArch):
        super().__init__()
        width = arch.text_width
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT_LENGTH, width) * 0.02)
        self.transformer = Transformer(width, arch.text_layers, width // arch.text_head)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, width) * width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.66))
        mask = torch.full((CONTEXT_LENGTH, CONTEXT_LENGTH), float("-inf")).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    @torch.no_grad()
    def reset_tokens(self, known: list[int]) -> None:
        """Start `known` tokens random, all others at 0: unknown words say nothing."""
        self.token_embedding.weight.zero_()
        self.token_embedding.weight[known] = torch.randn(len(known), self.ln_final.weight.numel())

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: int64 `[B, 77]`. Returns `[B, 77, width]`, the last block skipped."""
        x = self.token_embedding(tokens) + self.positional_embedding
        for block in list(self.transformer.resblocks)[:-1]:
            x = block(x, self.mask)
        return self.ln_final(x)


class VisionTower(nn.Module):
    """Image transformer; `forward` gives the query transformer's 257 tokens."""

    def __init__(self, arch: TowersArch):
        super().__init__()
        width = arch.vision_width
        num_tokens = (IMAGE_SIZE // PATCH) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, PATCH, stride=PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(num_tokens, width) * 0.1)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, arch.vision_layers, width // arch.vision_head)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, arch.text_width) * width**-0.5)

    def forward(self, images: Tensor) -> Tensor:
        """images: `[B, 3, 224, 224]`, CLIP-normalised. Returns `[B, 257, width]`."""
        patches = rearrange(self.conv1(images), "b c h w -> b (h w) c")
        first = self.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        for block in self.transformer.resblocks:
            x = block(x)
        return x

    def embed(self, tokens: Tensor) -> Tensor:
        """The pooled embedding `[B, text width]` of `forward`'s tokens."""
        return self.ln_post(tokens[:, 0]) @ self.proj


class Towers(nn.Module):
    """Both towers, named as the checkpoint's `cond_stage_model.model` and `embedder.model`.

    vision: whether there is an image tower; text-to-video models have none.
    """

    def __init__(self, arch: TowersArch | None = None, *, vision: bool = True):
        super().__init__()
        self.arch = arch or TowersArch()
        self.text = TextTower(self.arch)
        if vision:
            self.visual = VisionTower(self.arch)
