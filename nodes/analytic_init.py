"""Analytic-Init as NOISE: where sampling starts when it starts below the last timestep.

Source: docs/method.md#starting-below-the-last-timestep.
"""

import os

import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.frames import fold_frames, unfold_frames
from ..dc_model.sampling.analytic_init import (
    AnalyticInit,
    analytic_init_noise,
    measure_analytic_init,
    read_analytic_init,
)
from .checks import InputError, require_latent
from .door import checked
from .host.guider import require_model
from .host.latents import frames_per_video
from .host.model import DynamiCrafterModel
from .host.protocols import Latent, Model
from .inputs import CATEGORY, integer, seed_input
from .load import FOLDERS, checkpoint_path
from .sampling import VideoNoise, model_schedule

BUILT_IN = "built-in"

# Checkpoints lie in the same folders; an init file has a few megabytes.
MAX_INIT_FILE = 64 * 1024**2


def init_files() -> list[str]:
    """Files of the model folders that are small enough, no name twice."""
    names = []
    for folder in FOLDERS:
        for name in folder_paths.get_filename_list(folder):
            path = folder_paths.get_full_path(folder, name)
            if path is not None and os.path.getsize(path) <= MAX_INIT_FILE:
                names.append(name)
    return list(dict.fromkeys(names))


class AnalyticNoise:
    """NOISE of the best Gaussian at a timestep: the statistics fit themselves to the latent."""

    def __init__(self, seed: int, init: AnalyticInit, alpha_bar: float):
        self.seed, self.init, self.alpha_bar = seed, init, alpha_bar

    def generate_noise(self, input_latent: Latent) -> Tensor:
        """The start `[N*T, 4, h, w]` for a LATENT, in place of unit noise.

        InputError for a latent of another model.
        """
        require_latent(input_latent)
        unit = VideoNoise(self.seed).generate_noise(input_latent)
        video = unfold_frames(unit, frames_per_video(input_latent))  # [N, 4, T, h, w]
        init = self.init.resized(*video.shape[2:])
        # With --gpu-only a LATENT lies on the card, and so do its statistics.
        expectation = init.expectation.to(video)
        noise = analytic_init_noise(expectation, init.trace_per_dim, self.alpha_bar, video)
        return fold_frames(noise)


def statistics(model: DynamiCrafterModel, init_file: str, samples: Latent | None) -> AnalyticInit:
    """Of the sample videos, else of the file, else zero mean and the published variance."""
    if samples is not None:
        scaled = model.process_latent_in(require_latent(samples))
        try:
            return measure_analytic_init(unfold_frames(scaled, frames_per_video(samples)))
        except ValueError as error:
            raise InputError(f"statistics_from: {error}") from error
    if init_file == BUILT_IN:
        mean = torch.zeros(1, model.latent_format.latent_channels, 1, 1, 1)
        return AnalyticInit(mean, model.variant.init_variance)
    return read_analytic_init(checkpoint_path(init_file))


class AnalyticInitNode(io.ComfyNode):
    """Noise to start from below the last timestep, for any size and length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterAnalyticInit",
            display_name="Analytic-Init Noise",
            search_aliases=["more motion", "cil", "initial noise"],
            category=f"{CATEGORY}/sampling",
            description="Gives more motion: the right noise for a start_timestep below 1000, with "
            "the mean and variance of real videos. Works at any size and length. Connect it to "
            "the sampler's noise.",
            inputs=[
                io.Model.Input("model", tooltip="The same model as in the sampler."),
                io.Combo.Input(
                    "init_file",
                    options=[BUILT_IN, *init_files()],
                    default=BUILT_IN,
                    tooltip="built-in: zero mean and the published variance. Or a published "
                    "Analytic-Init file, .pt or .safetensors, in models/checkpoints.",
                ),
                seed_input(
                    "Noise is drawn on the CPU: a seed gives the same noise on every machine."
                ),
                integer(
                    "start_timestep",
                    940,
                    (1, 1000),
                    "Set it to the sampler's start_timestep. Published: 940 for original "
                    "checkpoints, 1000 (plain noise) for CIL ones.",
                ),
                io.Latent.Input(
                    "statistics_from",
                    optional=True,
                    tooltip="Measures mean and variance on your own videos instead of the file: "
                    "at least 2 in one batch.",
                ),
            ],
            outputs=[io.Noise.Output(display_name="NOISE")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Model,
        init_file: str,
        seed: int,
        start_timestep: int,
        statistics_from: Latent | None = None,
    ) -> io.NodeOutput:
        inner = require_model(model)
        schedule = model_schedule(model.get_model_object("model_sampling"))
        alpha_bar = float(schedule.alphas_cumprod[start_timestep - 1])
        init = statistics(inner, init_file, statistics_from)
        return io.NodeOutput(AnalyticNoise(seed, init, alpha_bar))


NODES = [AnalyticInitNode]
