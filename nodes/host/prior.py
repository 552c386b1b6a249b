"""Guidance whose unconditional branch is another model of the family, as the host's GUIDER.

Source: docs/motion.md#the-prior; Unconditional Priors Matter (arXiv 2503.20240).
"""

import math
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ..checks import InputError
from . import keys
from .conditionings import Conditionings
from .guider import DualGuider, Guidance, predictions, require_model
from .model import DynamiCrafterModel
from .options import transformer_option
from .protocols import Conditioning, Model, Options

KEY = "dynamicrafter_prior"


class PriorGuider(DualGuider):
    """`u + cfg (c - u)` with `u` of the prior, at the same noise level of its own schedule.

    Both models predict the clean latent of one state, so schedules need not be alike. Above the
    prior's largest noise level, and at strength 0, `u` is the model's own.
    """

    strength = 0.0
    largest = math.inf  # the prior's noise level
    prior_conds: Any = ()

    def set_prior(self, prior: Any, conditioning: Conditioning, strength: float) -> None:
        """Load `prior` beside the model; conditioning: its unconditional text."""
        self.strength = strength
        self.prior_conditioning = comfy.sampler_helpers.convert_cond(conditioning)
        if strength > 0:
            self.model_patcher = self.model_patcher.clone()
            self.model_patcher.set_additional_models(KEY, [prior.clone()])
            self.model_options = self.model_patcher.model_options

    @property
    def prior(self) -> Any:
        """The prior's patcher, or None at strength 0."""
        found = self.model_patcher.get_additional_models_with_key(KEY)
        return found[0] if found else None

    def inner_sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, noise: Tensor, latent_image: Any, device: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        prior = self.prior
        if prior is None:
            return super().inner_sample(noise, latent_image, device, *args, **kwargs)
        prior.pre_run()
        # Read once: in every step it would be one more wait for the device.
        self.largest = float(prior.get_model_object("model_sampling").sigma_max)
        try:
            conds = {"negative": [entry.copy() for entry in self.prior_conditioning]}
            processed = comfy.samplers.process_conds(prior.model, noise, conds, device)
            self.prior_conds = processed["negative"]
            self.prior_options = self._options_of(prior)
            return super().inner_sample(noise, latent_image, device, *args, **kwargs)
        finally:
            self.prior_conds = ()
            prior.cleanup()

    def _options_of(self, prior: Any) -> dict[str, Any]:
        """The prior's own options with its wrappers, in the model's context windows."""
        options = comfy.model_patcher.create_model_options_clone(prior.model_options)
        options.setdefault("transformer_options", {})
        comfy.sampler_helpers.prepare_model_patcher(prior, {}, options)
        if "context_handler" in self.model_options:
            options.setdefault("context_handler", self.model_options["context_handler"])
        return options

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: Options | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """The guided clean latent at `x` (`[N*T, 4, h, w]`), in the host's state."""
        options = model_options or {}
        prior = self.prior
        if prior is None or math.isclose(self.cfg, 1.0) or self._beyond(timestep):
            return super().predict_noise(x, timestep, options, seed)
        positive, negative = self.conds["positive"], self.conds["negative"]
        # At full strength the model's own unconditional branch need not run.
        entries = [positive, None if self.strength == 1 else negative]
        own = predictions(self.inner_model, entries, x, timestep, options)
        beside = _with_levels(self.prior_options, options)
        (uncond,) = comfy.samplers.calc_cond_batch(
            prior.model, [self.prior_conds], x, timestep, beside
        )
        if self.strength != 1:
            uncond = torch.lerp(own[1], uncond, self.strength)
        found = self._before_guidance(x, timestep, options, [own[0], uncond])
        return self._combined(x, timestep, options, *found)

    def _beyond(self, sigma: Tensor) -> bool:
        """Whether a noise level is above all that the prior was trained on."""
        return float(sigma.max()) > self.largest * (1 + 1e-4)


def _with_levels(options: Options, running: Options) -> Options:
    """Options of the prior with the run's noise levels, by which context windows count steps."""
    levels = running.get("transformer_options", {}).get("sample_sigmas")
    if levels is None:
        return options
    own = {**options["transformer_options"], "sample_sigmas": levels}
    return {**options, "transformer_options": own}


def build_prior_guider(
    model: Model,
    prior: Any,
    positive: Conditioning,
    negative: Conditioning,
    guidance: Guidance,
    strength: float,
) -> PriorGuider:
    """A `PriorGuider` ready to sample.

    Raises InputError when a model is of another family or lacks what it needs, or both are one.
    """
    inner, other = require_model(model), require_model(prior, "prior")
    if other is inner:
        raise InputError(
            "prior is the model itself; connect another one, such as VideoCrafter 2, from a loader "
            "of its own."
        )
    if transformer_option(prior, keys.REFERENCE) is not None:
        raise InputError(
            "prior follows a reference, which only what is sampled can; connect Reference Motion "
            "to model instead."
        )
    for conditioning in (positive, negative):
        inner.require_conditioning(conditioning)
    unconditional = _as_it_takes(other, negative, inner.variant.speed_unit)
    other.require_conditioning(unconditional)
    guider = PriorGuider(model)
    guider.set_all_conds(*Conditionings(positive, negative))
    guider.set_guidance(guidance)
    guider.set_prior(prior, unconditional, strength)
    return guider


def _as_it_takes(prior: DynamiCrafterModel, conditioning: Conditioning, unit: str) -> Any:
    """Without the images that the prior does not take, and a speed in another unit than its own."""
    dropped: set[str] = set()
    if not prior.arch.takes_image:
        dropped |= {keys.CONCAT_LATENT, keys.HELD_LATENTS, keys.SPEED}
    if not prior.arch.image_cross_attention:
        dropped.add(keys.IMAGE_CONTEXT)
    if prior.variant.speed_unit != unit:
        dropped.add(keys.SPEED)
    return [
        [text, {name: v for name, v in values.items() if name not in dropped}]
        for text, values in conditioning
    ]
