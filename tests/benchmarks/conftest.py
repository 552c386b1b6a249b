"""Makes `benchmarks` importable; networks that a test can run."""

from typing import Any

import pytest
import torch
from checkout import import_package

from dc_model.encoders.autoencoder import AutoencoderArch
from dc_model.encoders.clip import TowersArch
from dc_model.projection import ProjectionArch
from dc_model.variants import UNetArch

import_package("benchmarks")


@pytest.fixture(scope="session")
def where() -> Any:
    from benchmarks.networks import Where

    return Where(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def tiny_networks() -> Any:
    """Every kind of layer, a few channels."""
    from benchmarks.networks import Networks

    return Networks(
        unet=UNetArch(
            model_channels=32, channel_mult=(1, 2), num_res_blocks=1,
            attention_levels=(True, True), head_dim=8, context_dim=32,
        ),
        projection=ProjectionArch(
            dim=32, depth=1, heads=2, head_dim=16, num_latents=32, embedding_dim=80, output_dim=32
        ),
        towers=TowersArch(),
        vae=AutoencoderArch(),
    )  # fmt: skip
