"""A run that has diverged ends; what is not finite is neither trained on nor saved."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor

from dc_model.shown import shown

from .config import ConfigError

ADVICE = "Lower optimizer.rate or raise optimizer.warmup_steps; bf16 overflows later than fp16."
# Under fp16 the scaler leaves out a step that overflowed; so many in a row are no accident.
MAX_SKIPPED_STEPS = 3


@dataclass
class LossGuard:
    """Ends a run whose loss is not finite. allowed: so many such steps in a row are let pass."""

    folder: Path
    allowed: int = 0
    in_a_row: int = 0

    def check(self, loss: float, step: int) -> None:
        """Take the mean loss of `step`. Raises ConfigError for one too many that is not finite."""
        self.in_a_row = 0 if math.isfinite(loss) else self.in_a_row + 1
        if self.in_a_row > self.allowed:
            raise ConfigError(
                f"The loss of step {step} is {loss}, not a finite number. {_kept(self.folder)}"
            )


def require_finite_weights(
    model: nn.Module, accelerator: Accelerator, folder: Path, step: int
) -> None:
    """Raises ConfigError, on every process, where a trained weight is not finite."""
    trained = [p.detach() for p in model.parameters() if p.requires_grad]
    mine = [p.to_local() if isinstance(p, DTensor) else p for p in trained]
    finite = torch.stack([p.isfinite().all() for p in mine]).all()
    everyones = accelerator.gather(finite[None].to(accelerator.device))
    if not all(everyones):
        raise ConfigError(f"The weights after step {step} are not finite. {_kept(folder)}")


def _kept(folder: Path) -> str:
    return f"Nothing was saved over the last state in {shown(folder)}. {ADVICE}"
