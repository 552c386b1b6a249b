"""Across stock samplers and schedulers: each finds the model's own solution.

The solution is our DDIM at eta 0 with many steps. The bounds are what ten steps leave: most of it
is the first step, from the enormous noise level that zero terminal SNR starts with.
"""

from typing import Any

import pytest
from graphs import Graph, Link
from scene import Scene
from studio import Studio, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
SCHEDULERS = ("simple", "ddim_uniform", "normal", "sgm_uniform", "beta")
# One with even steps, one with a long last step, one with short steps at both ends.
KINDS = ("simple", "normal", "beta")
STEPS, MANY_STEPS, SEED = 10, 250, 3
# Noise levels reach 6455, so rounding alone reaches 4e-4 of a latent.
ROUNDING = 1e-3

# Largest relative distance from the solution, of all schedulers.
DETERMINISTIC = {
    "euler": 0.16,
    "heun": 0.70,
    "heunpp2": 0.16,
    "exp_heun_2_x0": 0.07,
    "dpm_2": 0.12,
    "lms": 0.09,
    "dpm_fast": 0.45,
    "dpm_adaptive": 0.55,
    "dpmpp_2m": 0.15,
    "ipndm": 0.06,
    "ipndm_v": 0.06,
    "deis": 0.07,
    "res_multistep": 0.25,
    "gradient_estimation": 0.07,
    "uni_pc": 0.12,
    "uni_pc_bh2": 0.13,
}

# Spread of the result against that of the solution, where fresh noise leads elsewhere. Those with
# two or three past steps overshoot with `normal` and `ddim_uniform`, whose last steps are long.
STOCHASTIC = {
    "euler_ancestral": (0.7, 1.0),
    "exp_heun_2_x0_sde": (0.8, 1.2),
    "dpm_2_ancestral": (0.8, 1.3),
    "dpmpp_2s_ancestral": (0.8, 1.1),
    "dpmpp_2s_ancestral_cfg_pp": (0.7, 1.0),
    "dpmpp_sde": (0.8, 1.2),
    "dpmpp_2m_sde": (0.8, 1.6),
    "dpmpp_2m_sde_heun": (0.8, 2.1),
    "dpmpp_3m_sde": (0.8, 3.3),
    "lcm": (0.5, 0.9),
    "res_multistep_ancestral": (0.8, 2.1),
    "er_sde": (0.8, 1.2),
    "seeds_2": (0.8, 1.2),
    "seeds_3": (0.6, 1.4),
    "sa_solver": (0.8, 1.2),
    "sa_solver_pece": (0.8, 1.2),
}

# With guidance 1 and equal prompts these do the same.
SAME = {
    "euler_cfg_pp": "euler",
    "euler_ancestral_cfg_pp": "euler_ancestral",
    "dpmpp_2m_cfg_pp": "dpmpp_2m",
    "res_multistep_cfg_pp": "res_multistep",
    "res_multistep_ancestral_cfg_pp": "res_multistep_ancestral",
    "gradient_estimation_cfg_pp": "gradient_estimation",
    "dpmpp_sde_gpu": "dpmpp_sde",
    "dpmpp_2m_sde_gpu": "dpmpp_2m_sde",
    "dpmpp_2m_sde_heun_gpu": "dpmpp_2m_sde_heun",
    "dpmpp_3m_sde_gpu": "dpmpp_3m_sde",
    "ddim": "euler",
    "ddpm": "euler_ancestral",
}

# Stochastic samplers without their noise.
NOISELESS: dict[str, tuple[float, dict[str, Any]]] = {
    "SamplerEulerAncestral": (0.16, {}),
    "SamplerDPMPP_2S_Ancestral": (0.08, {}),
    "SamplerDPMPP_SDE": (0.08, {"r": 0.5, "noise_device": "cpu"}),
    "SamplerDPMPP_2M_SDE": (0.15, {"solver_type": "midpoint", "noise_device": "cpu"}),
    "SamplerDPMPP_3M_SDE": (0.07, {"noise_device": "cpu"}),
    "SamplerER_SDE": (0.09, {"solver_type": "ODE", "max_stage": 3}),
    "SamplerSEEDS2": (0.08, {"solver_type": "phi_1", "r": 0.5}),
}


def tiny_scene(studio: Studio, graph: Graph) -> Scene:
    """Two frames; the prompt is also the negative, for samplers that always use one."""
    scene = Scene(studio, graph, size=32, frames=2)
    scene.negative = scene.positive
    return scene


@pytest.fixture(scope="module")
def solution(studio: Studio) -> Tensor:
    scene = tiny_scene(studio, Graph())
    noise = scene.graph.add("RandomNoise", noise_seed=SEED)[0]
    result = scene.sample(steps=MANY_STEPS, cfg=1.0, eta=0.0, noise=noise)
    return studio.run(scene.graph, solution=result)["solution"][SAMPLES]


def sample(scene: Scene, name: str, scheduler: str, steps: int = STEPS) -> Link:
    """LATENT by KSampler, which computes its own sigmas: uni_pc writes into those it is given."""
    return scene.ksampler(seed=SEED, steps=steps, cfg=1.0, sampler_name=name, scheduler=scheduler)[
        0
    ]


def run_all(
    studio: Studio, graph: Graph, name: str, schedulers: tuple[str, ...]
) -> dict[str, Tensor]:
    """The result by scheduler."""
    scene = tiny_scene(studio, graph)
    outputs = {scheduler: sample(scene, name, scheduler) for scheduler in schedulers}
    results = studio.run(graph, **outputs)
    return {scheduler: found[SAMPLES] for scheduler, found in results.items()}


def test_every_sampler_of_the_server_is_here(studio: Studio) -> None:
    info = studio.server.get("/object_info/KSampler")["KSampler"]["input"]["required"]
    offered = set(info["sampler_name"][0])
    assert offered <= {*DETERMINISTIC, *STOCHASTIC, *SAME}
    assert {"euler", "dpmpp_2m", "uni_pc", "ddim"} <= offered


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_deterministic_sampler_finds_the_solution(
    studio: Studio, graph: Graph, solution: Tensor, name: str
) -> None:
    for scheduler, found in run_all(studio, graph, name, SCHEDULERS).items():
        assert relative_error(found, solution) < DETERMINISTIC[name], scheduler


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_stochastic_sampler_finds_another_video_of_the_same_kind(
    studio: Studio, graph: Graph, solution: Tensor, name: str
) -> None:
    low, high = STOCHASTIC[name]
    for scheduler, found in run_all(studio, graph, name, KINDS).items():
        assert low < float(found.std() / solution.std()) < high, scheduler
        assert relative_error(found, solution) > 0.3, scheduler


@pytest.mark.parametrize("name", SAME)
def test_a_sampler_equals_its_sibling(studio: Studio, graph: Graph, name: str) -> None:
    scene = tiny_scene(studio, graph)
    outputs = {
        f"{which}_{scheduler}": sample(scene, sampler, scheduler, steps=3)
        for which, sampler in (("this", name), ("sibling", SAME[name]))
        for scheduler in KINDS[:2]
    }
    results = studio.run(graph, **outputs)
    for scheduler in KINDS[:2]:
        found, expected = (results[f"{w}_{scheduler}"][SAMPLES] for w in ("this", "sibling"))
        assert relative_error(found, expected) < ROUNDING, scheduler


@pytest.mark.parametrize("node", NOISELESS)
def test_a_stochastic_sampler_without_noise_finds_the_solution(
    studio: Studio, graph: Graph, solution: Tensor, node: str
) -> None:
    bound, options = NOISELESS[node]
    scene = tiny_scene(studio, graph)
    ancestral = node in ("SamplerEulerAncestral", "SamplerDPMPP_2S_Ancestral")
    s_noise = 1.0 if ancestral else 0.0
    sampler = graph.add(node, eta=0.0, s_noise=s_noise, **options)[0]
    guider, noise = scene.cfg_guider(1.0), graph.add("RandomNoise", noise_seed=SEED)[0]
    outputs = {
        scheduler: scene.sample_custom(noise, guider, sampler, scene.sigmas(STEPS, scheduler))
        for scheduler in KINDS
    }
    for scheduler, found in studio.run(graph, **outputs).items():
        assert relative_error(found[SAMPLES], solution) < bound, scheduler
