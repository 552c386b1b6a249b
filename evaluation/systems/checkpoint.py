"""Checkpoints of this family, and their VAE alone.

Their packages are imported when such a system is opened: other systems do without.
"""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from dc_model.checkpoint.errors import CheckpointError
from dc_model.frames import fold_frames, unfold_frames
from training.config import Amount, ConfigError, Count, VariantName

from ..command import EvaluationError
from ..items import Item, ItemError
from ..protocol import Protocol
from .base import Maker, SystemSection, SystemStopped, require_file


class _Weights(SystemSection):
    checkpoint: Annotated[str, Field(min_length=1)]
    encoders: str = ""
    tokenizer: str = ""

    def arguments(self, device: str) -> Namespace:
        """As `evaluation.checkpoint` takes them."""
        values = {"checkpoint": require_file(self.checkpoint, f"{self.name}.checkpoint")}
        return Namespace(**{**self.model_dump(), **values, "device": device})


class CheckpointSystem(_Weights):
    """A checkpoint that animates the first frame. image_lambda: multiplies the gate of the image
    attention in every layer; 0 closes the image stream, VDG stays."""

    kind: Literal["checkpoint"]
    variant: VariantName = "auto"
    steps: Count = 50
    cfg: Amount = 7.5
    eta: Amount = 1.0
    image_lambda: Amount = 1.0

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        from training.load import tokenizer_of

        from ..checkpoint import load_generator, require_known_words

        del protocol
        arguments = self.arguments(device)
        try:
            generator = load_generator(arguments)
        except (CheckpointError, ConfigError, EvaluationError) as error:
            raise SystemStopped(str(error)) from error
        scale_image_attention(generator.pipeline.model, self.image_lambda)

        def make(item: Item) -> Tensor:
            if not self.tokenizer:
                try:
                    require_known_words(tokenizer_of(""), [item.clip.caption])
                except EvaluationError as error:
                    raise ItemError(str(error)) from error
            return generator(item.clip, item.seed)

        yield make


@torch.no_grad()
def scale_image_attention(model: torch.nn.Module, factor: float) -> None:
    """Multiply the gate lambda of every image attention: the same as its values times `factor`."""
    for name, weight in model.named_parameters():
        if name.endswith("to_v_ip.weight"):
            weight.mul_(factor)


# What the loader asks for and the VAE has no use for.
_UNUSED = {"variant": "auto", "steps": 1, "cfg": 1.0, "eta": 0.0}


class AutoencoderSystem(_Weights):
    """The true clip, encoded and decoded: what the VAE alone costs."""

    kind: Literal["autoencoder"]

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        from ..checkpoint import load_generator

        del protocol
        arguments = self.arguments(device)
        try:
            generator = load_generator(Namespace(**vars(arguments), **_UNUSED))
        except (CheckpointError, ConfigError, EvaluationError) as error:
            raise SystemStopped(str(error)) from error
        pipeline = generator.pipeline

        def make(item: Item) -> Tensor:
            latents = unfold_frames(pipeline.encode(item.clip.frames), len(item.clip.frames))
            return fold_frames(pipeline.decode(latents))

        yield make
