"""What may enter a node: every input is checked by its type before the node does anything.

The host checks what a person types, but not what comes over a wire.
"""

import functools
import inspect
import numbers
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..dc_model.checkpoint.errors import CheckpointError
from ..dc_model.projection import Resampler
from ..dc_model.shown import shown
from .checks import (
    REMEDIES,
    InputError,
    require,
    require_conditioning,
    require_images,
    require_latent_samples,
    require_masks,
    require_vae,
    with_checked_mask,
)
from .host.guider import require_model
from .host.protocols import Input, Latent
from .inputs import Keyframe, Shot


def checked(execute: Callable[..., Any]) -> Callable[..., Any]:
    """A node's `execute` that first checks its arguments against the node's schema.

    Images reach it as `[B, H, W, 3]`, masks as `[B, H, W]`. An optional input that is not connected
    stays None. Raises InputError for the first argument that is not what its input is for.
    """
    parameters = inspect.signature(execute)

    @functools.wraps(execute)
    def at_the_door(cls: Any, *args: Any, **kwargs: Any) -> Any:
        bound = parameters.bind(cls, *args, **kwargs)
        bound.apply_defaults()
        rest = bound.arguments.pop("optional", {})
        given = {**bound.arguments, **rest}
        for entry in cls.define_schema().inputs:
            value = given.get(entry.id)
            if value is not None or not entry.optional:
                given[entry.id] = _admit(entry, value)
        try:
            return execute(**given)
        except (InputError, CheckpointError):
            raise
        except ValueError as error:
            # How `dc_model` refuses values, in words.
            raise InputError(str(error)) from error

    return at_the_door


def _admit(entry: Input, value: object) -> object:
    """What the node gets for `value`; InputError unless it is of the input's kind."""
    kind = _KINDS.get(entry.get_io_type())
    return value if kind is None else kind(value, entry)


def _image(value: object, entry: Input) -> object:
    return require_images(value, entry.id)


def _mask(value: object, entry: Input) -> object:
    return require_masks(value, entry.id)


def _latent(value: object, entry: Input) -> object:
    require_latent_samples(value, entry.id)
    return with_checked_mask(cast(Latent, value), entry.id)


def _conditioning(value: object, entry: Input) -> object:
    return require_conditioning(value, entry.id)


def _model(value: object, entry: Input) -> object:
    require_model(value, "The model" if entry.id == "model" else entry.id)
    return value


def _vae(value: object, entry: Input) -> object:
    del entry
    return _made_of(require_vae(value), "VAE", "encode", "decode")


def _clip(value: object, entry: Input) -> object:
    del entry
    return _made_of(value, "CLIP", "tokenize", "encode_from_tokens_scheduled")


def _clip_vision(value: object, entry: Input) -> object:
    del entry
    return _made_of(value, "CLIP_VISION", "model", "patcher", "encode_image")


def _made_of(value: object, part: str, *attributes: str) -> object:
    require(value, part, REMEDIES[part])
    if not all(hasattr(value, name) for name in attributes):
        raise InputError(f"This node got a {type(value).__name__} for {part}; {REMEDIES[part]}.")
    return value


def _clip_vision_output(value: object, entry: Input) -> object:
    tokens = getattr(value, "last_hidden_state", None)
    if getattr(tokens, "ndim", 0) != 3:
        raise InputError(
            f"{entry.id} is {_kind_of(value)} without image tokens [images, tokens, channels]; "
            "connect CLIP-Vision Context Encode."
        )
    return value


def _projector(value: object, entry: Input) -> object:
    del entry
    require(value, "projector", REMEDIES["projector"])
    if not isinstance(getattr(value, "model", None), Resampler):
        raise InputError(
            f"This node got {_kind_of(value)} for the projector; {REMEDIES['projector']}."
        )
    return value


def _noise(value: object, entry: Input) -> object:
    if not hasattr(value, "generate_noise") or not hasattr(value, "seed"):
        raise InputError(
            f"{entry.id} is {_kind_of(value)}, which draws no noise; connect RandomNoise or "
            "Analytic-Init Noise."
        )
    return value


def _keyframes(value: object, entry: Input) -> object:
    return _records(value, entry, Keyframe)


def _shots(value: object, entry: Input) -> object:
    return _records(value, entry, Shot)


def _records(value: object, entry: Input, record: type) -> object:
    if not isinstance(value, tuple) or not all(isinstance(one, record) for one in value):
        raise InputError(f"{entry.id} is {_kind_of(value)}; connect {record.__name__} nodes.")
    return value


def _int(value: Any, entry: Input) -> object:
    if not isinstance(value, numbers.Integral) or not entry.min <= value <= entry.max:
        raise InputError(
            f"{entry.id} is {shown(value)}; expected a whole number from {entry.min} to "
            f"{entry.max}: choose one."
        )
    return int(value)


def _float(value: Any, entry: Input) -> object:
    # NaN is in no range.
    if not isinstance(value, numbers.Real) or not entry.min <= value <= entry.max:
        raise InputError(
            f"{entry.id} is {shown(value)}; expected a number from {entry.min:g} to "
            f"{entry.max:g}: choose one."
        )
    return float(value)


def _combo(value: object, entry: Input) -> object:
    if value not in entry.options:
        # A folder may hold hundreds of files.
        choices = shown(", ".join(map(str, entry.options)), 200)
        raise InputError(f"{entry.id} is {shown(value)}; choose one of {choices}.")
    return value


def _string(value: object, entry: Input) -> object:
    if not isinstance(value, str):
        raise InputError(f"{entry.id} is {_kind_of(value)}; connect or type a text.")
    return value


def _boolean(value: object, entry: Input) -> object:
    if not isinstance(value, bool | numbers.Integral):
        raise InputError(f"{entry.id} is {_kind_of(value)}; set it to true or false.")
    return bool(value)


def _kind_of(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


_KINDS: Mapping[str, Callable[[Any, Input], object]] = {
    "IMAGE": _image,
    "MASK": _mask,
    "LATENT": _latent,
    "CONDITIONING": _conditioning,
    "MODEL": _model,
    "VAE": _vae,
    "CLIP": _clip,
    "CLIP_VISION": _clip_vision,
    "CLIP_VISION_OUTPUT": _clip_vision_output,
    "DC_PROJECTOR": _projector,
    "DC_KEYFRAMES": _keyframes,
    "DC_SHOTS": _shots,
    "NOISE": _noise,
    "INT": _int,
    "FLOAT": _float,
    "COMBO": _combo,
    "STRING": _string,
    "BOOLEAN": _boolean,
}
