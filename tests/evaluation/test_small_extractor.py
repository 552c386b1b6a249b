"""Across the metrics: a small TorchScript extractor in place of I3D."""

from pathlib import Path

import pytest
import torch

from dc_model.metrics.features import ScriptedExtractor, extract
from dc_model.metrics.fvd import frechet_distance
from research.small_world.train.extractor import (
    SmallExtractor,
    export,
    load_extractor,
    measure,
    render,
)
from research.small_world.world.scenes import make_scene


@pytest.fixture(scope="module")
def extractor(root: Path) -> SmallExtractor:
    return load_extractor(root / "assets" / "demo" / "small_extractor.safetensors")


def test_the_shipped_extractor_reads_unseen_clips(extractor: SmallExtractor) -> None:
    found = measure(extractor, clips=50, seed=1234)
    assert min(found.values()) >= 0.98, found


def test_its_distance_sees_what_is_wrong_with_a_set(extractor: SmallExtractor) -> None:
    videos = render([make_scene(55, i, "held_out") for i in range(48)])
    still, grey = videos[:, :1].expand_as(videos), videos.mean(dim=2, keepdim=True)
    noisy = videos + 0.02 * torch.randn(videos.shape, generator=torch.Generator().manual_seed(0))
    true = extract(extractor, videos)
    sets = (noisy, still, grey.expand_as(videos))
    distances = [frechet_distance(true, extract(extractor, other)) for other in sets]
    assert distances[0] < 5
    assert distances[1] > 100
    assert distances[2] > 1000


def test_exported_it_gives_the_same_features(extractor: SmallExtractor, tmp_path: Path) -> None:
    path = tmp_path / "small.pt"
    export(extractor, path)
    videos = torch.rand(3, 12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = ScriptedExtractor(path, "none")(videos)
    torch.testing.assert_close(found, extractor(videos), atol=1e-5, rtol=1e-4)
