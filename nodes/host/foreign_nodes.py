"""Stock nodes that are made for another kind of model: refused in words, before long work."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import comfy.model_sampling
import torch

from ...dc_model.shown import shown
from ..checks import InputError
from . import keys
from .latents import stated_frames, warn_of_squeeze
from .protocols import Executor, Model, Patcher

# Guidances that compare one number for the whole batch, the input that rules them, and the value
# at which they do not.
_SINGLE_IMAGE = {"RenormCFG": ("renorm_cfg", 0.0), "TemporalScoreRescaling": ("tsr_k", 1.0)}
# Patch points of the host's other networks: a patch there would do nothing, silently.
ELSEWHERE = {
    "double_block",
    "forward_timestep_embed_patch",
    "mlp_patch",
    "noise_refiner",
    "post_input",
    "single_block",
}
_REMEDY = "is made for another kind of model; take it out."


class SaysWhatItIs(torch.nn.Module):
    """A module that answers in words when a node asks for what it does not have."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__} has no `{name}`: this is a DynamiCrafter model, and the "
                f"node that asks for it {_REMEDY}"
            ) from None


def refuse_call() -> NoReturn:
    """InputError where a node calls the U-Net as the network that it expects."""
    raise InputError(
        f"This is a DynamiCrafter model, and the node that runs it on an image {_REMEDY}"
    )


def refuse_flow(sampling: object) -> None:
    """InputError when a node put a flow model's sampling in place of ours."""
    flows = (comfy.model_sampling.CONST, comfy.model_sampling.COSMOS_RFLOW)
    if isinstance(sampling, flows):
        raise InputError(
            f"A node replaced the model's sampling by {type(sampling).__mro__[1].__name__}, which "
            "is for flow models; take that ModelSampling node out."
        )


def refuse_patches(patcher: Patcher | None, rows: int) -> None:
    """InputError where a node's patch cannot work on a batch of `rows` frames of a U-Net."""
    if patcher is None:
        return
    options = patcher.model_options
    for name, patches in options.get("transformer_options", {}).get("patches", {}).items():
        for patch in patches:
            if name in ELSEWHERE or _is_of_another_network(patch):
                raise InputError(
                    f"A node gives the model {_named(patch)} for {shown(name)}, which a U-Net does "
                    f"not have: it {_REMEDY}"
                )
    if rows > 1:
        _refuse_single_image(options, rows)


def _is_of_another_network(patch: Any) -> bool:
    """Whether the host defines a patch beside one of its networks that are not U-Nets of SD."""
    module = getattr(patch, "__module__", None) or ""
    return module.startswith("comfy.ldm.") and not module.startswith("comfy.ldm.modules.")


def _named(patch: Any) -> str:
    name = getattr(patch, "__qualname__", None) or type(patch).__name__
    return shown(name.split(".")[0])


def _refuse_single_image(options: Mapping[str, Any], rows: int) -> None:
    functions: list[Any] = [options.get("sampler_cfg_function")]
    for function in functions + list(options.get("sampler_post_cfg_function", ())):
        node = getattr(function, "__qualname__", "").split(".")[0]
        if node not in _SINGLE_IMAGE:
            continue
        name, neutral = _SINGLE_IMAGE[node]
        if inspect.getclosurevars(function).nonlocals.get(name) != neutral:
            raise InputError(
                f"{node} takes single images and cannot guide {rows} frames; set its {name} to "
                f"{neutral:g}, or take it out and use guidance_rescale of Dual-Attention Sampler."
            )


def check_conditions(
    executor: Executor, model: Model, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any
) -> Any:
    """The host's PREPARE_SAMPLING wrapper: refuses those for other models before this one loads.

    Raises InputError for what the model would leave out, or read as something else.
    """
    entries = [cond for given in conds.values() for cond in given or ()]
    for cond in entries:
        refuse_concat_mask(cond)
        refuse_video_area(cond)
    refuse_lengths(entries, noise_shape[0])
    for image in (cond.get(keys.CONCAT_LATENT) for cond in entries):
        if image is not None and warn_of_squeeze(image, noise_shape):
            break
    return executor(model, noise_shape, conds, *args, **kwargs)


def refuse_lengths(entries: Sequence[Mapping[str, Any]], rows: int) -> None:
    """InputError where prompts are for videos of different lengths, whose frames would not meet."""
    lengths = {stated_frames(cond, rows) for cond in entries}
    if len(lengths) > 1:
        found = " and ".join(map(str, sorted(lengths)))
        raise InputError(
            f"The conditionings are for videos of {found} frames; give all the same length, best "
            "by one Visual Detail Guidance or Empty Video for positive, negative and image_only."
        )


def refuse_concat_mask(cond: Mapping[str, Any]) -> None:
    """InputError where a node for inpainting models put its own image in place of ours."""
    if cond.get("concat_mask") is not None:
        raise InputError(
            "A conditioning has a mask beside its image, as nodes for inpainting models make it "
            "(InpaintModelConditioning), and this model takes none; take that node out and use "
            "Set Latent Noise Mask."
        )


def refuse_video_area(cond: Mapping[str, Any]) -> None:
    """InputError for an area with an extent in time, which would be taken for its height."""
    area = cond.get("area") or ()
    if len(area) == 7:  # "percentage", three sizes, three offsets
        raise InputError(
            "A conditioning's area has an extent in time, which this model's latents do not have; "
            "use ConditioningSetAreaPercentage."
        )


def refuse_boxes(cond: Mapping[str, Any], width: int) -> None:
    """InputError where text boxes (GLIGEN) were trained for text of another width."""
    if "gligen" not in cond:
        return
    found = getattr(cond["gligen"][1].model, "key_dim", width)
    if found != width:
        raise InputError(
            f"GLIGEN's model takes text of {found} channels, this model has {width}: it {_REMEDY}"
        )
