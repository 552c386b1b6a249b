"""Across the pack, on CUDA: every weight type, weights streamed, peak memory at real size."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from comfyui.server import ComfyServer
from graphs import Graph
from scene import small_scene
from servers import page_arguments
from studio import Animation, Studio, relative_error
from torch import Tensor

from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, UNetArch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.server,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

MIB = 2**20
# What `DynamiCrafterConfig.memory_usage_factor` is, and the host's unit for it.
FACTOR = 0.92
DTYPES = ["fp32", "fp16", "bf16", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
# Relative errors of one step to fp32's, by bits of the mantissa.
TOLERANCES = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1}
# The host's own ways to hold weights: on the card as memory allows, or none of them.
SERVERS = {"resident": ["--disable-dynamic-vram"], "dynamic": []}
STREAMING = ["--disable-dynamic-vram", "--novram"]


def gpu_server(comfyui: Path, root: Path, base: Path, arguments: list[str]) -> ComfyServer:
    support = root / "tests" / "server" / "support_pack"
    arguments = [*arguments, *page_arguments()]
    return ComfyServer(comfyui, base, packs=[root, support], extra_args=arguments, cpu=False)


def latents(studio: Studio, variant: str, weight_dtype: str) -> tuple[Tensor, dict[str, float]]:
    """One step's latents and the memory that it took, in bytes."""
    graph = Graph()
    scene = small_scene(studio, graph, variant)
    file = studio.small_checkpoint(variant)
    model = Animation(studio, graph, file, weight_dtype=weight_dtype).model
    watched = graph.add("TestPeakMemory", model=model)
    scene.model = watched[0]
    samples = scene.ksampler(steps=1, cfg=1.0, denoise=0.5)[0]
    seen = graph.add("TestCallsSeen", seen=watched[1], after=samples)[0]
    found = studio.run(graph, samples=samples, seen=seen)
    memory = {key.removeprefix("value."): float(v) for key, v in found["seen"].items()}
    return found["samples"]["value.samples"], memory


Runs = dict[tuple[str, str], tuple[Tensor, dict[str, float]]]


def run_all(studio: Studio) -> Runs:
    variants = ("256", "videocrafter1_512")
    return {(v, dtype): latents(studio, v, dtype) for v in variants for dtype in DTYPES}


@pytest.fixture(scope="module")
def streamed(
    comfyui: Path, root: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    base = tmp_path_factory.mktemp("streaming")
    with gpu_server(comfyui, root, base, STREAMING) as server:
        yield run_all(Studio(server, golden))


@pytest.fixture(scope="module", params=list(SERVERS))
def loaded(
    request: pytest.FixtureRequest,
    comfyui: Path,
    root: Path,
    golden: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Runs]:
    base = tmp_path_factory.mktemp(request.param)
    with gpu_server(comfyui, root, base, SERVERS[request.param]) as server:
        yield run_all(Studio(server, golden))


def test_streamed_weights_give_the_latents_of_loaded_ones(loaded: Runs, streamed: Runs) -> None:
    for case, (samples, _) in loaded.items():
        # A product of 8-bit matrices may be of another kernel than where the weights are copied.
        tolerance = 0.1 if case[1].endswith("fast") else 1e-3
        assert relative_error(streamed[case][0].float(), samples.float()) < tolerance, case


def test_weight_types_stay_near_fp32(loaded: Runs) -> None:
    for (variant, dtype), (samples, _) in loaded.items():
        exact, _ = loaded[variant, "fp32"]
        error = relative_error(samples.float(), exact.float())
        assert error < TOLERANCES.get(dtype, 0.4), (variant, dtype, error)


def test_streaming_keeps_the_weights_off_the_card(streamed: Runs, loaded: Runs) -> None:
    for case, (_, memory) in streamed.items():
        assert memory["peak"] < loaded[case][1]["peak"] + MIB, case


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", ["256", "512", "1024"])
def test_activations_stay_below_what_the_host_reckons_with(
    variant: str, dtype: torch.dtype
) -> None:
    """At real size; by counting they take 0.77 of the unit that the factor multiplies."""
    arch, (height, width) = UNetArch(), (side // 8 for side in VARIANTS[variant].size)
    with torch.device("cuda"), torch.inference_mode():
        network = DynamiCrafterUNet(arch, dtype=dtype).eval()
        inputs = {
            "x": torch.randn(2, arch.in_channels, 16, height, width, dtype=dtype),
            "timesteps": torch.full((2,), 500.0),
            "context": torch.randn(2, 77, arch.context_dim, dtype=dtype),
            "image_context": torch.randn(2, 256, arch.context_dim, dtype=dtype),
            "speed": torch.full((2,), 24.0),
        }
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        network(**inputs)
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() - before
    unit = 2 * 16 * height * width * dtype.itemsize * 0.01 * MIB
    assert 0.7 * unit < peak < FACTOR * unit
