"""A run that diverged ends with a sentence and leaves what was good."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from training_helpers import tiny_config, tiny_trainer

from training import trainer as trainer_module
from training.config import ConfigError
from training.saving import save_checkpoint
from training.trainer import Trainer


def test_a_loss_that_is_not_finite_ends_the_run_before_its_step(tmp_path: Path):
    config = tiny_config(tmp_path, run={"steps": 6, "save_every": 1})
    trainer = tiny_trainer(config)
    steps = []

    def spoil(step: int, _loss: float, _buckets: dict[str, float]) -> None:
        steps.append(step)
        if step == 2:
            trainer.config = config.model_copy(
                update={"optimizer": config.optimizer.model_copy(update={"rate": 1e20})}
            )

    trainer.on_step = spoil
    with pytest.raises(ConfigError, match=r"loss of step 4 is .*optimizer\.rate"):
        trainer.train()
    assert steps == [1, 2, 3]
    assert all(p.isfinite().all() for p in trainer.raw.parameters())
    assert trainer.ema is not None
    assert all(v.isfinite().all() for v in trainer.ema.shadow.values())
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3


def test_weights_that_are_not_finite_leave_the_last_state(tmp_path: Path):
    trainer = tiny_trainer(tiny_config(tmp_path, run={"steps": 1}))
    trainer.train()
    before = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        next(p for p in trainer.raw.parameters() if p.requires_grad).view(-1)[0] = torch.nan
    with pytest.raises(ConfigError, match="weights after step 1 are not finite"):
        trainer.save()
    assert (tmp_path / "state.pt").read_bytes() == before


def scaled_trainer(folder: Path, bad: set[int], monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """With a gradient scaler, as fp16 has it; the losses of the steps `bad` are not numbers."""
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)  # pyright: ignore
    config = tiny_config(folder, run={"steps": 8, "batch_size": 1}, optimizer={"clip_norm": 0})
    trainer = tiny_trainer(config, accelerator=accelerator)
    real = trainer_module.sample_losses

    def losses(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return real(output, target) * (torch.nan if trainer.step + 1 in bad else 1)

    monkeypatch.setattr(trainer_module, "sample_losses", losses)
    return trainer


def test_single_steps_that_the_scaler_skips_are_let_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer = scaled_trainer(tmp_path / "a", {1, 3, 4, 5, 8}, monkeypatch)
    assert trainer.train() == 8
    assert all(p.isfinite().all() for p in trainer.raw.parameters())
    trainer = scaled_trainer(tmp_path / "b", {3, 4, 5, 6}, monkeypatch)
    with pytest.raises(ConfigError, match="loss of step 6 is nan"):
        trainer.train()


@pytest.mark.parametrize("value", [70_000.0, float("nan")])
def test_a_checkpoint_with_values_that_are_not_finite_is_refused(tmp_path: Path, value: float):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ConfigError, match=r"a\.weight holds values .* float16, .* 65504"):
        save_checkpoint(path, {"a.weight": torch.tensor([1.0, value])}, {})
    assert not path.exists()
    save_checkpoint(path, {"a.weight": torch.tensor([65_504.0]), "n": torch.tensor([1])}, {})
