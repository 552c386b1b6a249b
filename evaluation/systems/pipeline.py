"""Image-to-video pipelines of diffusers: I2VGen-XL and whatever is called as it is."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dc_model.preprocess import eight_bit
from dc_model.shown import shown

from ..items import Item, ItemError
from ..protocol import Protocol
from .base import Maker, SystemSection, SystemStopped


class PipelineSystem(SystemSection):
    """pipeline: a folder in diffusers' layout. options: further arguments of its call, such as
    `num_inference_steps`. half: load in float16."""

    kind: Literal["diffusers"]
    pipeline: Annotated[str, Field(min_length=1)]
    half: bool = False
    options: dict[str, Any] = Field(default_factory=dict)

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        try:
            from diffusers import DiffusionPipeline
            from safetensors import SafetensorError
        except ImportError as error:
            raise SystemStopped(
                f"{self.name} needs diffusers ({shown(error)}): python -m pip install diffusers."
            ) from error
        dtype = torch.float16 if self.half else torch.float32
        try:
            pipeline = DiffusionPipeline.from_pretrained(self.pipeline, torch_dtype=dtype)
        except (OSError, ValueError, SafetensorError) as error:
            raise SystemStopped(
                f"{shown(self.pipeline)} is not a pipeline that diffusers can load "
                f"({shown(error)}); give a folder with model_index.json."
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to(device)
        find_text_model(pipeline)

        def make(item: Item) -> Tensor:
            wanted = _arguments(item, protocol)
            known = inspect.signature(pipeline.__call__).parameters
            arguments = {k: v for k, v in wanted.items() if k in known} | self.options
            try:
                # I2VGen-XL draws the picture's latent from the global random state.
                with torch.random.fork_rng():
                    torch.manual_seed(item.seed)  # noqa: TID251 - put back on leaving
                    return frames_of(pipeline(**arguments).frames)
            except (ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError) as error:
                raise ItemError(
                    f"{self.name} fails on clip {item.number}: {shown(error)}"
                ) from error

        yield make


def find_text_model(pipeline: Any) -> None:
    """Let a text tower of Transformers 5 be found where I2VGen-XL looks for its last norm."""
    tower = getattr(pipeline, "text_encoder", None)
    if hasattr(tower, "final_layer_norm") and not hasattr(tower, "text_model"):
        # Past `nn.Module`, whose submodules may not contain themselves.
        object.__setattr__(tower, "text_model", tower)


def _arguments(item: Item, protocol: Protocol) -> Mapping[str, Any]:
    from PIL import Image

    height, width = protocol.size
    picture = eight_bit(item.clip.frames[0]).permute(1, 2, 0).numpy()
    return {
        "image": Image.fromarray(picture),
        "prompt": item.clip.caption,
        "height": height,
        "width": width,
        "num_frames": protocol.frames,
        "target_fps": round(item.clip.fps),
        "fps": round(item.clip.fps),
        "generator": torch.Generator().manual_seed(item.seed),
        "output_type": "pt",
    }


def frames_of(output: Any) -> Tensor:
    """The first video of a pipeline's output, `[B, T, 3, H, W]` or nested pictures, to
    `[T, 3, H, W]` in [-1, 1]."""
    first = output[0]
    if isinstance(first, Tensor):
        return (first.float().cpu() * 2 - 1).clamp(-1, 1)
    pictures = torch.from_numpy(np.stack([np.asarray(p, dtype=np.float32) for p in first]))
    scale = 255.0 if pictures.max() > 1 else 1.0
    return pictures.permute(0, 3, 1, 2) / scale * 2 - 1
