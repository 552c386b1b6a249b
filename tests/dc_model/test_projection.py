"""The query transformer against the published one, and its checkpoint layouts."""

import pytest
import torch

from dc_model.checkpoint.layout import PROJECTOR_PREFIX, shapes
from dc_model.projection import ProjectionArch, Resampler, detect_projection_arch

HEAD_DIM = 16  # of the golden items; published ones have 64


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("name", ["resampler_perframe", "resampler_shared"])
def test_output_is_the_published_one(load_golden, name, case):
    item = load_golden(name)
    weights = item.weights()
    resampler = Resampler(detect_projection_arch(shapes(weights), HEAD_DIM))
    resampler.load_state_dict(weights)
    with torch.no_grad():
        out = resampler(item[f"case{case}.x"])
    torch.testing.assert_close(out, item[f"case{case}.out"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("dynamicrafter_256", 16),
        ("dynamicrafter_512", 16),
        ("dynamicrafter_1024", 16),
        ("dynamicrafter_512_interp", 16),
        ("tooncrafter_512_interp", 16),
        ("videocrafter1_i2v_512", 1),
    ],
)
def test_published_layout_loads_without_missing_or_unexpected_key(load_manifest, name, frames):
    published = load_manifest(name).part(PROJECTOR_PREFIX)
    arch = detect_projection_arch(published)
    with torch.device("meta"):
        resampler = Resampler(arch)
    assert shapes(resampler.state_dict()) == published
    assert arch.num_frames == frames


def test_a_layout_of_25_frames_has_25_slots():
    arch = ProjectionArch(dim=64, depth=1, heads=1, num_latents=400, output_dim=8, embedding_dim=8)
    found = detect_projection_arch(shapes(Resampler(arch, device="meta").state_dict()))
    assert found == arch
    assert found.num_frames == 25


def test_a_layout_without_a_defining_key_says_which(load_golden):
    found = shapes(load_golden("resampler_shared").weights())
    del found["latents"]
    with pytest.raises(KeyError, match="latents"):
        detect_projection_arch(found)


def test_fresh_queries_differ_and_repeat_by_generator():
    arch = ProjectionArch(dim=64, depth=1, heads=1, num_latents=32, output_dim=8, embedding_dim=8)
    drawn = []
    for seed in (1, 1, 2):
        resampler = Resampler(arch)
        resampler.reset_parameters(torch.Generator().manual_seed(seed))
        drawn.append(resampler.latents.detach().clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert abs(float(drawn[0].std()) - 64**-0.5) < 0.02
