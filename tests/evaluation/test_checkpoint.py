"""A checkpoint in the paper's protocols: what is drawn, generated, kept and printed."""

import csv
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate", reason="the training extra is not installed")
pytest.importorskip("av")

from dc_model.encoders.autoencoder import Autoencoder
from dc_model.encoders.clip import Towers
from dc_model.pipeline import Pipeline
from dc_model.sampling.schedule import schedule_of
from dc_model.variants import VARIANTS
from evaluation import checkpoint
from evaluation.checkpoint import Generator, generate_set, require_known_words
from evaluation.command import EvaluationError, run
from evaluation.published import PUBLISHED
from evaluation.videos import ClipShape, read_clip, write_video
from research.small_world.train.extractor import SmallExtractor, export
from research.small_world.train.preset import new_model
from research.small_world.world.dataset import SmallWorld
from training.data.clip import Clip
from training.data.order import item_of
from training.vocabulary import tokenize

SHAPE = ClipShape(resolution=(64, 64))


@pytest.fixture(scope="module")
def generator() -> Generator:
    model, vae, towers = new_model(0).eval(), Autoencoder(), Towers()
    variant = VARIANTS["512"]
    pipeline = Pipeline(model, vae, towers, tokenize, variant, schedule_of(variant))
    return Generator(pipeline, steps=2)


def test_the_papers_protocols():
    for name, dataset, prompt in (
        ("ucf101", "UCF-101", "class name"),
        ("msrvtt", "MSR-VTT", "caption"),
    ):
        found = PUBLISHED[name]
        assert (found.dataset, found.prompt) == (dataset, prompt)
        assert (found.clips, found.frames, found.frame_stride) == (2048, 16, 3)
        assert found.resolution == (256, 256)


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
    real = read_clip(tmp_path / "real" / "00001.mp4", SHAPE)
    true = source.load(item_of(1, 1, 2), 0).frames
    torch.testing.assert_close(real, (true + 1) / 2, atol=0.51 / 255, rtol=0)
    made = read_clip(files[0], SHAPE)
    files[0].unlink()
    kept = files[1].stat().st_mtime_ns
    generate_set(generator, source, [0, 1], tmp_path, seed=1)
    assert torch.equal(read_clip(files[0], SHAPE), made)
    assert files[1].stat().st_mtime_ns == kept


def test_videos_are_drawn_from_the_whole_set(tmp_path: Path):
    drawn: list[str] = []

    def note(clip: Clip, seed: int) -> torch.Tensor:
        del seed
        drawn.append(clip.key)
        return clip.frames[:1]

    generate_set(note, SmallWorld(40), range(12), tmp_path, seed=5)
    numbers = [int(key.split()[-1]) for key in drawn]
    assert len(set(numbers)) == 12
    assert max(numbers) > 20


def test_unknown_words_name_the_tokenizer():
    require_known_words(tokenize, ["a red circle moves left"])
    with pytest.raises(EvaluationError, match=r"lacks 'apply'.*--tokenizer FOLDER"):
        require_known_words(tokenize, ["apply eye makeup"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three videos of 20 frames with captions."""
    source = SmallWorld(3, num_frames=20)
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "caption"])
        for i in range(3):
            clip = source.load(i, 0)
            write_video(tmp_path / f"{i}.mp4", clip.frames)
            rows.writerow([f"{i}.mp4", clip.caption])
    return tmp_path / "clips.csv"


def test_the_command_shares_work_and_prints_protocols(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = table.parent
    export(SmallExtractor().eval(), folder / "extractor.pt")
    (folder / "model.safetensors").touch()
    backwards = lambda clip, _seed: clip.frames.flip(0)  # noqa: E731
    monkeypatch.setattr(checkpoint, "load_generator", lambda _: backwards)
    options = {
        "--protocol": "msrvtt",
        "--table": str(table),
        "--extractor": str(folder / "extractor.pt"),
        "--preprocessing": "none",
        "--work": str(folder / "work"),
        "--clips": "3",
        "--stride": "1",
        "--steps": "2",
        "--pic": "pixels",
    }
    words = ["command", str(folder / "model.safetensors"), "--size", "64", "64"]
    words += [word for pair in options.items() for word in pair]
    monkeypatch.setattr(sys, "argv", [*words, "--part", "1/2"])
    run(checkpoint.main)
    assert capsys.readouterr().out == ""
    made = {p.name: p.stat().st_mtime_ns for p in (folder / "work" / "generated").iterdir()}
    assert list(made) == ["00001.mp4"]
    monkeypatch.setattr(sys, "argv", words)
    run(checkpoint.main)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("MSR-VTT, model.safetensors from the first frame and the caption")
    assert lines[1].startswith("FVD = ")
    assert lines[2].startswith("KVD = ")
    assert "real: MSR-VTT: 3 clips of 16 frames, stride 1, 64x64, extractor.pt" in lines[3]
    assert "generated: 3 clips of 16 frames, stride 1, 64x64, extractor.pt" in lines[4]
    assert lines[7].startswith("1 - distance = 0.")
    again = (folder / "work" / "generated" / "00001.mp4").stat().st_mtime_ns
    assert again == made["00001.mp4"]
    monkeypatch.setattr(checkpoint, "load_generator", None)
    run(checkpoint.main)
    assert capsys.readouterr().out.splitlines() == lines
    monkeypatch.setattr(sys, "argv", [*words, "--seed", "9"])
    with pytest.raises(SystemExit, match=r"begun with seed 123 \(now 9\)"):
        run(checkpoint.main)
    monkeypatch.setattr(sys, "argv", [*words, "--clips", "9"])
    with pytest.raises(
        SystemExit, match=r"holds 3 videos, the protocol wants 9 clips; set --clips"
    ):
        run(checkpoint.main)
