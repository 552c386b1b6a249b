"""Guidance with one or two scales and rescale per video, as the host's GUIDER.

Source: docs/method.md#guidance.
"""

import math
from typing import Any, NamedTuple

import comfy.model_patcher
import comfy.samplers
from torch import Tensor

from ...dc_model.frames import fold_frames, unfold_frames
from ...dc_model.sampling.guidance import classifier_free, rescale_guidance, two_scale
from ...dc_model.shown import shown
from ..checks import InputError
from .conditionings import Conditionings
from .model import DynamiCrafterModel, DynamiCrafterSampling
from .protocols import Conditioning, Model, Options


class Guidance(NamedTuple):
    """How strongly text and image steer. rescale: 0 to 1; negative = the model's own."""

    cfg: float
    image_cfg: float
    rescale: float = -1.0


def require_model(patcher: object, name: str = "The model") -> DynamiCrafterModel:
    """The model behind a MODEL wire; InputError when it is of another family."""
    model = getattr(patcher, "model", None)
    if not isinstance(model, DynamiCrafterModel):
        found = "nothing" if patcher is None else f"a {type(model or patcher).__name__}"
        raise InputError(
            f"{name} is {found}; this node needs one from Load DynamiCrafter Checkpoint."
        )
    return model


class DualGuider(comfy.samplers.CFGGuider):
    """`u + image_cfg (i - u) + cfg (c - i)`, or plain guidance where no `image_only` is given.

    Functions that stock nodes hang on the model (before, in place of and after guidance) stay in
    force; a function in place of guidance also switches the rescale off, and is refused with two
    scales, which it knows nothing of.
    """

    image_cfg = 1.0
    guidance_rescale = 0.0

    def set_guidance(self, guidance: Guidance) -> None:
        self.cfg, self.image_cfg = guidance.cfg, guidance.image_cfg
        own = require_model(self.model_patcher).variant.guidance_rescale
        self.guidance_rescale = own if guidance.rescale < 0 else guidance.rescale

    def set_all_conds(
        self,
        positive: Conditioning,
        negative: Conditioning,
        image_only: Conditioning | None = None,
    ) -> None:
        """image_only may be None."""
        conds = {"positive": positive, "negative": negative}
        if image_only is not None:
            conds["image_only"] = image_only
        self.inner_set_conds(conds)

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: Options | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """The guided clean latent at `x` (`[N*T, 4, h, w]`), in the host's state."""
        options = model_options or {}
        conds = self.conds
        image_only = conds.get("image_only")
        # With equal scales the middle term cancels.
        if image_only is None or math.isclose(self.cfg, self.image_cfg):
            options = self._with_guidance(options, None)
            return comfy.samplers.sampling_function(
                self.inner_model,
                x,
                timestep,
                conds.get("negative"),
                conds.get("positive"),
                self.cfg,
                model_options=options,
                seed=seed,
            )
        entries = [conds["positive"], conds["negative"], image_only]
        *pair, image = predictions(self.inner_model, entries, x, timestep, options)
        cond, uncond = self._before_guidance(x, timestep, options, pair)
        return self._combined(x, timestep, options, cond, uncond, image)

    def _before_guidance(
        self, x: Tensor, timestep: Tensor, options: Options, found: list[Tensor]
    ) -> list[Tensor]:
        """The predictions for positive and negative, changed by the functions that nodes put there.

        Those know of two, as the host's own guidance has them.
        """
        entries = [self.conds["positive"], self.conds["negative"]]
        for function in options.get("sampler_pre_cfg_function", ()):
            found = function(
                {
                    "conds": entries,
                    "conds_out": found,
                    "cond_scale": self.cfg,
                    "timestep": timestep,
                    "input": x,
                    "sigma": timestep,
                    "model": self.inner_model,
                    "model_options": options,
                }
            )
        return found

    def _combined(
        self,
        x: Tensor,
        timestep: Tensor,
        options: Options,
        cond: Tensor,
        uncond: Tensor,
        image_only: Tensor | None = None,
    ) -> Tensor:
        """Guidance through the host's function, whose hooks then see the predictions."""
        return comfy.samplers.cfg_function(
            self.inner_model,
            cond,
            uncond,
            self.cfg,
            x,
            timestep,
            model_options=self._with_guidance(options, image_only),
            cond=self.conds["positive"],
            uncond=self.conds["negative"],
        )

    def _with_guidance(self, options: Options, image_only: Tensor | None) -> Options:
        if "sampler_cfg_function" in options:
            return options

        def guide(args: Options) -> Tensor:
            x, cond = args["input"], args["cond_denoised"]
            guided = self._guide(x, args["sigma"], cond, args["uncond_denoised"], image_only)
            return x - guided  # the host wants what it subtracts from x

        return {**options, "sampler_cfg_function": guide}

    def _guide(
        self, x: Tensor, sigma: Tensor, cond: Tensor, uncond: Tensor, image_only: Tensor | None
    ) -> Tensor:
        if image_only is not None:
            guided = two_scale(cond, image_only, uncond, self.cfg, self.image_cfg)
        elif math.isclose(self.cfg, 1.0):
            return cond
        else:
            guided = classifier_free(cond, uncond, self.cfg)
        if self.guidance_rescale == 0:
            return guided
        return self._rescale(x, sigma, guided, cond)

    def _rescale(self, x: Tensor, sigma: Tensor, guided: Tensor, cond: Tensor) -> Tensor:
        """Rescale acts on what the network predicts, one standard deviation per video."""
        sampling = self.inner_model.model_sampling
        if not isinstance(sampling, DynamiCrafterSampling):
            raise InputError(
                f"guidance_rescale needs DynamiCrafter's own sampling, but a node put "
                f"{type(sampling).__name__} in its place; set guidance_rescale to 0."
            )
        schedule = sampling.schedule
        frames = self.conds["positive"][0]["model_conds"]["num_video_frames"].cond
        predicted, conditional = (
            unfold_frames(schedule.output_from_denoised(sigma, denoised, x), frames)
            for denoised in (guided, cond)
        )  # [N, 4, T, h, w]
        rescaled = rescale_guidance(predicted, conditional, self.guidance_rescale)
        return schedule.denoised(sigma, fold_frames(rescaled), x)


def predictions(
    model: Any, entries: list[Any], x: Tensor, timestep: Tensor, options: Options
) -> list[Tensor]:
    """What the model predicts for each of `entries`: positive, negative or None, and others.

    A node's function in place of the predictions is asked for the first two, as by the host.
    """
    batch = options.get("sampler_calc_cond_batch_function")
    if batch is None:
        return comfy.samplers.calc_cond_batch(model, entries, x, timestep, options)
    pair, others = entries[:2], entries[2:]
    given = {"conds": pair, "input": x, "sigma": timestep, "model": model}
    found = list(batch({**given, "model_options": options}))
    if others:
        found += comfy.samplers.calc_cond_batch(model, others, x, timestep, options)
    return found


def refuse_other_guidance(options: Options) -> None:
    """InputError where a node's guidance would take the place of two-scale guidance."""
    function = options.get("sampler_cfg_function")
    if function is not None:
        name = getattr(function, "__qualname__", type(function).__name__).split(".")[0]
        # The host wraps functions of three arguments.
        named = "" if name == "ModelPatcher" else f" ({shown(name)})"
        raise InputError(
            f"A node gives the model guidance of its own{named}, which has no scale for "
            "image_only; take that node out, or disconnect image_only."
        )


def build_guider(model: Model, conditionings: Conditionings, guidance: Guidance) -> DualGuider:
    """A `DualGuider` ready to sample.

    Raises InputError when the model is of another family or a conditioning lacks what it needs.
    """
    inner = require_model(model)
    for conditioning in conditionings:
        inner.require_conditioning(conditioning or ())
    guider = DualGuider(model)
    guider.set_all_conds(*conditionings)
    guider.set_guidance(guidance)
    if conditionings.image_only is not None and not math.isclose(guidance.cfg, guidance.image_cfg):
        refuse_other_guidance(model.model_options)
    return guider
