from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate", reason="the training extra is not installed")
pytest.importorskip("av")

from dc_model.variants import VARIANTS
from evaluation.checkpoint import Generator, clip_numbers, generate_set
from evaluation.videos import ClipShape, read_clip
from training.autoencoder import Autoencoder
from training.clip import Towers
from training.config import ConfigError
from training.encoders import Encoders
from training.small_world.dataset import SmallWorld
from training.small_world.preset import new_model
from training.small_world.train_towers import clip_pixels
from training.small_world.vocabulary import tokenize


@pytest.fixture(scope="module")
def generator() -> Generator:
    encoders = Encoders(Autoencoder(), Towers(), tokenize, clip_pixels)
    return Generator(new_model(0).eval(), encoders, VARIANTS["512"], steps=2)


def test_pairs_are_written_once_and_repeat(generator: Generator, tmp_path: Path):
    source = SmallWorld(2)
    generate_set(generator, source, [0, 1], tmp_path, seed=1)
    files = sorted(tmp_path.rglob("*.mp4"))
    assert [f"{f.parent.name}/{f.name}" for f in files] == [
        "generated/00000.mp4",
        "generated/00001.mp4",
        "real/00000.mp4",
        "real/00001.mp4",
    ]
    shape = ClipShape(resolution=(64, 64))
    real = read_clip(tmp_path / "real" / "00001.mp4", shape)
    torch.testing.assert_close(real, (source.load(1, 0).frames + 1) / 2, atol=0.51 / 255, rtol=0)
    made = read_clip(files[0], shape)
    files[0].unlink()
    kept = files[1].stat().st_mtime_ns
    generate_set(generator, source, [0, 1], tmp_path, seed=1)
    assert torch.equal(read_clip(files[0], shape), made)
    assert files[1].stat().st_mtime_ns == kept


def test_parts_share_all_numbers():
    assert sorted(clip_numbers(7, "0/2") + clip_numbers(7, "1/2")) == list(range(7))
    assert clip_numbers(3, None) == [0, 1, 2]
    with pytest.raises(ConfigError, match="write I/N"):
        clip_numbers(3, "half")
    with pytest.raises(ConfigError, match="0 to N - 1"):
        clip_numbers(3, "2/2")
