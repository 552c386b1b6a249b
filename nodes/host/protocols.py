"""What the pack uses of the host's objects, as types: one for each wire and each call of the host.

The host has no types of its own for them. These are for the type checker alone; what comes over a
wire is checked by `door.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict

import torch
from torch import Tensor

# Settings by the host's names, such as `transformer_options`; values are whatever a node put there.
Options: TypeAlias = dict[str, Any]
# Settings of one prompt (`keys`), or the arguments that the host made of them.
Values: TypeAlias = Mapping[str, Any]
# CONDITIONING: prompts, each a list of its encoded text `[B, 77, C]` and its settings.
Conditioning: TypeAlias = Sequence[Sequence[Any]]


class _Samples(TypedDict):
    samples: Tensor


class Latent(_Samples, total=False):
    """LATENT: rows `[N*T, 4, h, w]`, unscaled; `num_frames` is ours."""

    num_frames: int
    noise_mask: Tensor
    batch_index: list[int]


class Patcher(Protocol):
    """A network with its devices and the patches that nodes hung on it; also the wires MODEL and
    DC_PROJECTOR."""

    model: Any
    model_options: Options
    load_device: torch.device
    patches: Mapping[str, object]
    backup: Mapping[str, object]
    cached_patcher_init: tuple[object, ...]

    def clone(self) -> "Patcher": ...

    def get_model_object(self, name: str) -> Any: ...

    def get_key_patches(self, filter_prefix: str) -> Mapping[str, Any]: ...

    def is_dynamic(self) -> bool: ...

    def patch_weight_to_device(self, key: str, device_to: torch.device | None) -> object: ...

    def add_wrapper_with_key(
        self, wrapper_type: str, key: str, wrapper: Callable[..., Any]
    ) -> None: ...

    def add_callback_with_key(
        self, call_type: str, key: str, callback: Callable[..., Any]
    ) -> None: ...


Model: TypeAlias = Patcher


class VAE(Protocol):
    """VAE: images `[K, H, W, 3]` in [0, 1] to latents `[K, 4, h, w]` and back."""

    patcher: Patcher

    def encode(self, pixel_samples: Tensor) -> Tensor: ...

    def decode(self, samples_in: Tensor) -> Tensor: ...

    def decode_tiled(
        self, samples: Tensor, *, tile_x: int, tile_y: int, overlap: int
    ) -> Tensor: ...


class Clip(Protocol):
    """CLIP: a text encoder with its tokenizer."""

    patcher: Patcher

    def tokenize(self, text: str) -> Any: ...

    def encode_from_tokens_scheduled(self, tokens: Any) -> Conditioning: ...


class ClipVision(Protocol):
    """CLIP_VISION: an image encoder for square images of `image_size`."""

    model: Any
    patcher: Patcher
    load_device: torch.device
    image_size: int

    def encode_image(self, image: Tensor, crop: bool) -> "ClipVisionOutput": ...


class ClipVisionOutput(Protocol):
    """CLIP_VISION_OUTPUT, by its entries' names."""

    def __getitem__(self, key: str) -> Any: ...


class Noise(Protocol):
    """NOISE: draws unit noise for a LATENT."""

    seed: int

    def generate_noise(self, input_latent: Latent) -> Tensor: ...


class Window(Protocol):
    """One of the host's context windows: frames along `dim`."""

    index_list: Sequence[int]
    dim: int

    def get_tensor(
        self, full: Tensor, device: torch.device, retain_index_list: list[int] = ...
    ) -> Tensor: ...


class Control(Protocol):
    """A ControlNet with its hint, and the one chained before it."""

    cond_hint: Tensor | None
    cond_hint_original: Tensor | None
    extra_concat: object
    extra_concat_orig: Sequence[Tensor]
    previous_controlnet: "Control | None"
    multigpu_clones: "dict[Any, Control]"


# Prompts by name, each prompt's entries as the network gets them.
Conds: TypeAlias = Mapping[str, Sequence[Options] | None]


class Guider(Protocol):
    """GUIDER while it samples: the prompts by name, and the network without its patcher."""

    conds: Conds
    inner_model: Any


class Input(Protocol):
    """An input of a node's schema; numbers have a range, choices have options."""

    id: str
    optional: bool
    min: Any
    max: Any
    options: Sequence[str]

    def get_io_type(self) -> str: ...


class Sampled(Protocol):
    """What a sampler function samples: the network with guidance, its noise and its start."""

    noise: Tensor
    latent_image: Tensor
    inner_model: Any

    def __call__(self, x: Tensor, sigma: Tensor, **arguments: Any) -> Tensor: ...


# Called by the host after each step.
Callback: TypeAlias = Callable[..., object]
# The rest of the host's chain of wrappers.
Executor: TypeAlias = Callable[..., Any]
