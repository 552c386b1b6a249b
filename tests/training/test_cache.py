from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dc_model.encoders.autoencoder import Autoencoder
from dc_model.encoders.clip import Towers
from dc_model.preprocess import clip_preprocess
from training.cache import DiskCache, digest, fingerprint
from training.data.clip import Clip
from training.encoders import Encoders
from training.vocabulary import tokenize

Parts = tuple[Autoencoder, Towers]


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Autoencoder(), Towers()


class Counted(Encoders):
    """Counts what is really encoded."""

    made: int = 0

    def _latents(self, frames: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.made += 1
        return super()._latents(frames, generator)

    def _tokens(self, image: torch.Tensor) -> torch.Tensor:
        self.made += 1
        return super()._tokens(image)

    def _text(self, tokens: torch.Tensor) -> torch.Tensor:
        self.made += 1
        return super()._text(tokens)


def encoders(parts: Parts, folder: Path, precision: str = "no") -> Counted:
    made = Counted(*parts, tokenize, clip_preprocess)
    made.use_disk(folder, precision)
    return made


def clip(seed: int = 0, size: int = 16, key: str = "a") -> Clip:
    frames = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return Clip(key, frames, "a red ring", "", 8.0, 1)


def encode(made: Encoders, clip: Clip) -> list[torch.Tensor]:
    latents = made.latents(clip, torch.Generator())
    return [latents, made.image_tokens(clip, 1), made.text([clip.caption, ""])]


def test_a_second_run_reads_what_the_first_wrote(parts: Parts, tmp_path: Path):
    first, second = encoders(parts, tmp_path), encoders(parts, tmp_path)
    written = encode(first, clip())
    assert first.made == 4
    read = encode(second, clip(key="the same pixels under another name"))
    assert second.made == 0
    assert all(torch.equal(a, b) for a, b in zip(written, read, strict=True))
    plain = Encoders(*parts, tokenize, clip_preprocess, keep=True)
    torch.testing.assert_close(written[0], plain.latents(clip(), torch.Generator()))
    torch.testing.assert_close(written[2], plain.text(["a red ring", ""]), atol=2e-3, rtol=2e-3)


def test_nothing_stale_is_read(parts: Parts, tmp_path: Path):
    encode(encoders(parts, tmp_path), clip())
    for other in (clip(seed=1), clip(size=24)):
        fresh = encoders(parts, tmp_path)
        encode(fresh, other)
        assert fresh.made == 2  # The captions are the same.
    changed = Autoencoder()
    for made in (
        encoders((changed, parts[1]), tmp_path),
        encoders(parts, tmp_path, precision="bf16"),
    ):
        encode(made, clip())
        assert made.made == 4


def test_a_damaged_or_half_written_entry_is_made_again(parts: Parts, tmp_path: Path):
    expected = encode(encoders(parts, tmp_path), clip())
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 4 and len(list(tmp_path.rglob("*.part"))) == 0
    for path in files:
        path.write_bytes(path.read_bytes()[:40])
    (files[0].parent / "x.safetensors.1.part").write_bytes(b"left by a run that was killed")
    again = encoders(parts, tmp_path)
    found = encode(again, clip())
    assert again.made == 4
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(load_file(path) for path in files)


def test_processes_may_write_the_same_entry(tmp_path: Path):
    caches = [DiskCache(tmp_path, "e") for _ in range(2)]
    for cache in caches:
        cache.put("ab", torch.ones(3))
    assert caches[0].get("ab").tolist() == [1, 1, 1]  # type: ignore[union-attr]
    assert caches[1].get("cd") is None


def test_digests_tell_values_shapes_and_types_apart():
    zeros = torch.zeros(2, 3)
    others = (torch.zeros(3, 2), zeros.half(), zeros.double(), torch.ones(2, 3), zeros[:, :2])
    assert len({digest(t) for t in (zeros, *others)}) == 6
    assert digest(zeros) == digest(torch.zeros(3, 2).T) == digest(zeros.clone())
    layer = torch.nn.Linear(2, 2)
    before = fingerprint([layer], "a")
    assert before == fingerprint([layer], "a") != fingerprint([layer], "b")
    with torch.no_grad():
        layer.bias[0] += 1
    assert before != fingerprint([layer], "a")
