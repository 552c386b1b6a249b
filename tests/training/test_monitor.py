import io
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from training_helpers import tiny_config, tiny_trainer

from dc_model.encoders.autoencoder import Autoencoder
from dc_model.encoders.clip import Towers
from dc_model.preprocess import clip_preprocess
from dc_model.sampling.schedule import schedule_of
from dc_model.variants import VARIANTS
from research.small_world.train.preset import new_model
from research.small_world.world.dataset import SmallWorld
from training import monitor as monitor_module
from training.batch import Batch, BatchMaker
from training.encoders import Encoders
from training.monitor import Monitor, gif, sample_averaged
from training.stages import STAGES, temporal_modules
from training.trainer import Trainer
from training.vocabulary import tokenize

image = pytest.importorskip("PIL.Image")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_losses_are_written_by_bucket(tmp_path: Path):
    config = tiny_config(tmp_path, run={"steps": 2, "log_every": 1})
    trainer = tiny_trainer(config)
    monitor = Monitor(tmp_path, config.run)
    trainer.on_step = monitor.step
    trainer.train()
    monitor.writer().flush()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = events.Tags()["scalars"]
    assert any(t.startswith("loss/t ") for t in tags)
    assert [e.step for e in events.Scalars("loss/all")] == [1, 2]


def test_samples_are_written_as_videos(tmp_path: Path):
    config = tiny_config(tmp_path, conditioning={"concat": {"first": 1.0}})
    variant = VARIANTS["512"]
    maker = BatchMaker(
        encoders=Encoders(Autoencoder(), Towers(), tokenize, clip_preprocess),
        schedule=schedule_of(variant),
        variant=variant,
        stage=STAGES["full"],
        conditioning=config.conditioning,
        timesteps="uniform",
        seed=0,
    )
    trainer = Trainer(config, new_model(0), SmallWorld(2), maker, Accelerator(cpu=True))
    monitor = Monitor(tmp_path, config.run)
    monitor.sample(3, trainer)
    monitor.writer().flush()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["images"]) == {"sample/generated", "sample/true"}
    shown = events.Images("sample/generated")[0]
    assert (shown.step, shown.width, shown.height) == (3, 64, 64)
    assert image.open(io.BytesIO(shown.encoded_image_string)).n_frames == 16


def sampled_under(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """The conditions that the trainer's sample videos are made under."""
    seen = []
    monkeypatch.setattr(monitor_module, "sample_averaged", lambda _, batch: seen.append(batch))
    monkeypatch.setattr(Monitor, "writer", lambda *_: None)
    Monitor(trainer.folder, trainer.config.run).sample(1, trainer)
    return seen[0]


def test_samples_have_whole_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    concat = {"concat": {"first": 1.0}}
    # The text, the image or both are always dropped.
    disturbed = {"drop_probability": 1 / 3, "cil_noise": True, "motion_captions": 1.0, **concat}
    for seed in range(3):
        found, plain = (
            sampled_under(
                tiny_trainer(tiny_config(tmp_path, conditioning=settings, run={"seed": seed})),
                monkeypatch,
            )
            for settings in (disturbed, {**concat, "drop_probability": 0.0})
        )
        for name in ("text", "image_tokens", "concat"):
            assert torch.equal(getattr(found, name), getattr(plain, name)), name


@pytest.mark.parametrize(("stage", "temporal"), [("projector", False), ("adapt", True)])
def test_samples_go_through_the_layers_that_the_stage_trains_with(
    stage: str, temporal: bool, tmp_path: Path
):
    trainer = tiny_trainer(tiny_config(tmp_path, stage))
    batch = trainer.maker([trainer.source.load(0, 0)], [0])
    before = sample_averaged(trainer, batch, steps=2)
    with torch.no_grad():
        for layer in temporal_modules(trainer.raw.unet).values():
            for p in layer.parameters():
                p.mul_(2)
    assert torch.equal(before, sample_averaged(trainer, batch, steps=2)) != temporal


def test_gif_has_every_frame():
    frames = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 8, 8)
    picture = image.open(io.BytesIO(gif(frames)))
    assert picture.n_frames == 5
    assert picture.size == (8, 8)
