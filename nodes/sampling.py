"""Scheduler, DDIM and the whole sampler.

Source: docs/method.md#sampling; docs/comfyui.md#noise-levels.
"""

import logging
from typing import NamedTuple, cast

import comfy.k_diffusion.sampling
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io
from torch import Tensor
from tqdm.auto import tqdm

from ..dc_model.sampling.ddim import sample_ddim
from ..dc_model.sampling.schedule import Ending, NoiseSchedule, ddim_sigmas, timesteps
from ..dc_model.variants import Spacing
from .checks import SAMPLING, InputError, require_finite, require_latent, require_noise
from .door import checked
from .host.conditionings import Conditionings
from .host.guider import Guidance, build_guider, require_model
from .host.latents import frames_per_video, has_fixed_seed, with_length
from .host.model import DynamiCrafterSampling
from .host.protocols import Callback, Conditioning, Latent, Model, Noise, Options, Sampled
from .inputs import (
    CATEGORY,
    eta_input,
    guidance_inputs,
    integer,
    prompt_inputs,
    real,
    seed_input,
    steps_input,
    two_scales_input,
)

logger = logging.getLogger(__name__)

SPACINGS = ["auto", "uniform_trailing", "uniform"]
ENDINGS = ["clean", "published"]


class SamplerSettings(NamedTuple):
    """The nodes' defaults; `auto` spacing is the variant's."""

    steps: int = 50
    eta: float = 1.0
    spacing: str = "auto"
    denoise: float = 1.0
    ending: Ending = "clean"
    start_timestep: int = 1000


def model_schedule(sampling: object) -> NoiseSchedule:
    """The noise schedule of a model's sampling; InputError when another node replaced it."""
    if not isinstance(sampling, DynamiCrafterSampling):
        raise InputError(
            f"The model's sampling is {type(sampling).__name__}, which a node put in place of "
            "DynamiCrafter's; take that node out, or sample with a stock sampler and scheduler."
        )
    return sampling.schedule


def make_sigmas(model: Model, settings: SamplerSettings) -> Tensor:
    """SIGMAS of the published grid of timesteps."""
    variant = require_model(model).variant
    schedule = model_schedule(model.get_model_object("model_sampling"))
    spacing = variant.spacing if settings.spacing == "auto" else cast(Spacing, settings.spacing)
    grid = timesteps(settings.steps, spacing, settings.start_timestep, settings.denoise)
    return ddim_sigmas(schedule, grid, settings.ending)


class VideoNoise:
    """NOISE drawn on the CPU in the published layout `[N, 4, T, h, w]`."""

    def __init__(self, seed: int):
        self.seed = seed

    def generate_noise(self, input_latent: Latent) -> Tensor:
        """Unit noise `[N*T, 4, h, w]` for a LATENT; frames per video from its `num_frames`."""
        samples = input_latent["samples"]
        rows, *frame = samples.shape
        frames = frames_per_video(input_latent)
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        channels, *size = frame
        noise = torch.randn(rows // frames, channels, frames, *size, generator=generator)
        if has_fixed_seed(input_latent):
            logger.info("Latent Batch Seed Behavior is fixed: all frames start from one noise.")
            noise = noise[:1, :, :1].expand_as(noise)
        return noise.transpose(1, 2).reshape(samples.shape)


def sample_dynamicrafter_ddim(
    model: Sampled,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Options | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
) -> Tensor:
    """The host's sampler function over `sample_ddim`; x: `[N*T, 4, h, w]`."""
    arguments = extra_args or {}
    schedule = model_schedule(model.inner_model.inner_model.model_sampling)
    draw = comfy.k_diffusion.sampling.default_noise_sampler(x, seed=arguments.get("seed"))
    ones = x.new_ones([x.shape[0]])
    from_scratch = torch.count_nonzero(model.latent_image) == 0
    steps = len(sigmas) - 1
    with tqdm(total=steps, disable=disable) as bar:

        def on_step(i: int, y: Tensor, sigma: Tensor, denoised: Tensor) -> None:
            require_finite(denoised, f"The video after step {i + 1} of {steps}", SAMPLING)
            if callback is not None:
                state = {"x": y, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised}
                callback(state)
            bar.update()

        return sample_ddim(
            lambda y, sigma: model(y, sigma * ones, **arguments),
            x,
            sigmas,
            schedule,
            eta,
            draw,
            on_step,
            start_noise=model.noise if from_scratch else None,
        )


def ddim_sampler(eta: float) -> comfy.samplers.KSAMPLER:
    """SAMPLER of the published DDIM."""
    return comfy.samplers.KSAMPLER(sample_dynamicrafter_ddim, {"eta": eta})


def sample(
    model: Model,
    conditionings: Conditionings,
    latent: Latent,
    noise: Noise,
    settings: SamplerSettings,
    guidance: Guidance,
) -> Latent:
    """A new LATENT, sampled as SamplerCustomAdvanced does, with previews and progress.

    noise: a NOISE. Raises InputError when model, conditionings, latent and noise do not fit.
    """
    guider = build_guider(model, conditionings, guidance)
    sigmas = make_sigmas(model, settings)
    latent = with_length(latent, conditionings.positive)
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    latent = {**latent, "samples": samples}
    require_latent(latent)
    result = guider.sample(
        require_noise(noise.generate_noise(latent), samples),
        samples,
        ddim_sampler(settings.eta),
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=noise.seed,
    )
    return {**latent, "samples": result.to(comfy.model_management.intermediate_device())}


def _grid_inputs() -> dict[str, io.Input]:
    return {
        "steps": steps_input(),
        "spacing": io.Combo.Input(
            "spacing",
            options=SPACINGS,
            default="auto",
            tooltip="Which timesteps are visited. auto: as published, uniform for 256 and "
            "VideoCrafter, uniform_trailing for the others.",
        ),
        "denoise": real(
            "denoise",
            1.0,
            (0.0, 1.0),
            "1 = from pure noise. Below 1 starts from the latent input: the lower, the "
            "more of it stays.",
            step=0.01,
        ),
        "ending": io.Combo.Input(
            "ending",
            options=ENDINGS,
            default="clean",
            tooltip="clean removes all noise. published stops one timestep early, exactly as the "
            "original code; with few steps contrast looks washed out.",
        ),
        "start_timestep": integer(
            "start_timestep",
            1000,
            (1, 1000),
            "Lower = more motion, because the model relies less on the image. Published: "
            "940 for 512 and 1024, 1000 for CIL checkpoints. Below 1000, connect Analytic-Init "
            "Noise.",
        ),
    }


class Scheduler(io.ComfyNode):
    """The published timesteps as SIGMAS, for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        grid = _grid_inputs()
        order = ("steps", "spacing", "denoise", "ending", "start_timestep")
        return io.Schema(
            node_id="DynamiCrafterScheduler",
            display_name="DynamiCrafter Scheduler",
            search_aliases=["sigmas", "trailing timesteps"],
            category=f"{CATEGORY}/sampling",
            description="The published timesteps as SIGMAS, for SamplerCustomAdvanced.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model."),
                *(grid[name] for name in order),
            ],
            outputs=[io.Sigmas.Output(display_name="SIGMAS")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Model,
        steps: int,
        spacing: str,
        denoise: float,
        ending: Ending,
        start_timestep: int,
    ) -> io.NodeOutput:
        settings = SamplerSettings(
            steps, spacing=spacing, denoise=denoise, ending=ending, start_timestep=start_timestep
        )
        return io.NodeOutput(make_sigmas(model, settings))


class DDIM(io.ComfyNode):
    """The published sampler as SAMPLER, for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterDDIM",
            display_name="DynamiCrafter DDIM",
            search_aliases=["ddim sampler", "eta"],
            category=f"{CATEGORY}/sampling",
            description="The published DDIM sampler as SAMPLER, for SamplerCustomAdvanced.",
            inputs=[eta_input()],
            outputs=[io.Sampler.Output(display_name="SAMPLER")],
        )

    @classmethod
    @checked
    def execute(cls, eta: float) -> io.NodeOutput:
        return io.NodeOutput(ddim_sampler(eta))


class Sampler(io.ComfyNode):
    """The published sampler in one node: guidance, schedule and DDIM."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        grid, (cfg, image_cfg, rescale) = _grid_inputs(), guidance_inputs()
        return io.Schema(
            node_id="DynamiCrafterSampler",
            display_name="Dual-Attention Sampler",
            search_aliases=["ksampler", "sampler", "dynamicrafter sampler"],
            category=f"{CATEGORY}/sampling",
            description="Samples the video with the published method and settings. Stock samplers "
            "work on the same MODEL.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model."),
                *prompt_inputs(),
                io.Latent.Input("latent", tooltip="From Visual Detail Guidance."),
                seed_input(),
                grid["steps"],
                cfg,
                image_cfg,
                eta_input(),
                grid["spacing"],
                rescale,
                grid["ending"],
                grid["start_timestep"],
                grid["denoise"],
                two_scales_input(),
                io.Noise.Input(
                    "noise",
                    optional=True,
                    tooltip="Replaces the seed's noise, for example by Analytic-Init Noise.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Model,
        positive: Conditioning,
        negative: Conditioning,
        latent: Latent,
        seed: int,
        steps: int,
        cfg: float,
        image_cfg: float,
        eta: float,
        spacing: str,
        guidance_rescale: float,
        ending: Ending,
        start_timestep: int,
        denoise: float,
        image_only: Conditioning | None = None,
        noise: Noise | None = None,
    ) -> io.NodeOutput:
        conditionings = Conditionings(positive, negative, image_only)
        settings = SamplerSettings(steps, eta, spacing, denoise, ending, start_timestep)
        guidance = Guidance(cfg, image_cfg, guidance_rescale)
        source = noise or VideoNoise(seed)
        return io.NodeOutput(sample(model, conditionings, latent, source, settings, guidance))


class Guider(io.ComfyNode):
    """The published guidance as GUIDER, for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterGuider",
            display_name="DynamiCrafter Dual Guider",
            search_aliases=["dual cfg", "image cfg", "two guidance scales"],
            category=f"{CATEGORY}/sampling",
            description="Guidance with separate scales for text and image, for "
            "SamplerCustomAdvanced. Contrast is rescaled over the whole video.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model."),
                *prompt_inputs(),
                *guidance_inputs(),
                two_scales_input(),
            ],
            outputs=[io.Guider.Output(display_name="GUIDER")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Model,
        positive: Conditioning,
        negative: Conditioning,
        cfg: float,
        image_cfg: float,
        guidance_rescale: float,
        image_only: Conditioning | None = None,
    ) -> io.NodeOutput:
        conditionings = Conditionings(positive, negative, image_only)
        guidance = Guidance(cfg, image_cfg, guidance_rescale)
        return io.NodeOutput(build_guider(model, conditionings, guidance))


NODES = [Sampler, Scheduler, DDIM, Guider]
