"""The training loop over Hugging Face Accelerate: one CPU, one GPU, many GPUs or many nodes.

A step is a pure function of the weights, the optimizer's state and the step's number, so a resumed
run continues bit for bit on a CPU, and N processes do what one does with the same global batch.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dc_model.shown import shown

from .batch import Batch, BatchMaker
from .config import ConfigError, OptimizerConfig, TrainConfig
from .data.clip import Clip, ClipSource
from .data.order import MicroBatches, item_of, sample_seed
from .distributed import (
    autocast,
    check_model,
    configure,
    drop_older_deepspeed,
    gathered,
    is_sliced,
    load_deepspeed,
    load_optimizer,
    save_deepspeed,
    uses_deepspeed,
)
from .dropout import drop_by_sample
from .ema import Ema
from .files import remove_abandoned
from .finite import MAX_SKIPPED_STEPS, LossGuard, require_finite_weights
from .identity import identity_of, require_same_run
from .lora import add_lora
from .model import VideoModel
from .objective import sample_losses
from .saving import STATE_FILE, load_state, require_space, save_state
from .stages import bypass_temporal, select_parameters

log = logging.getLogger(__name__)

TIMESTEP_BUCKETS = 4


@dataclass(slots=True)
class _Loaded:
    """Clips of one micro-batch, their sample numbers, and how many broken files were met.

    fault: why there are none; an exception would bring its worker's traceback along.
    """

    numbers: list[int]
    clips: list[Clip]
    skipped: int
    fault: str = ""


class _Samples(Dataset[_Loaded]):
    """Sample number -> its clip, for DataLoader workers."""

    def __init__(self, source: ClipSource, seed: int):
        self.source, self.seed = source, seed

    def __getitem__(self, sample: int) -> _Loaded:
        index = item_of(self.seed, sample, len(self.source))
        before = self.source.skipped
        try:
            clip = self.source.load(index, sample_seed(self.seed, sample, purpose=1))
        except ConfigError as error:
            return _Loaded([sample], [], 0, str(error))
        return _Loaded([sample], [clip], self.source.skipped - before)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of `step`: linear warm-up, then constant or a cosine over the second half."""
    rate = config.rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay == "cosine" and step > steps / 2:
        progress = min(1.0, (step - steps / 2) / (steps / 2))
        rate *= 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
    return rate


@dataclass
class Trainer:
    """One stage, the batch maker's. on_step gets (step, mean loss, losses per bucket).

    contents: digests of the files that the run learns from, by the key that names their place.
    rate_factors: multiples of the rate, by the ending of parameters' names.

    raw: the model itself, under DDP and DeepSpeed inside `prepared`; its parameters are slices
    under FSDP. skipped: broken files met since this start, all processes together.
    """

    config: TrainConfig
    model: VideoModel
    source: ClipSource
    maker: BatchMaker
    accelerator: Accelerator
    contents: Mapping[str, str] = field(default_factory=dict)
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    on_step: Callable[[int, float, dict[str, float]], None] | None = None
    on_sample: Callable[[int, "Trainer"], None] | None = None
    step: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        config = self.config
        configure(self.accelerator, config)
        check_model(self.accelerator, self.model)
        self.stage = self.maker.stage
        self.trained = self._select()
        self.model.unet.gradient_checkpointing = config.run.gradient_checkpointing
        self.folder = Path(config.output)
        skipped_steps = 0 if self.accelerator.scaler is None else MAX_SKIPPED_STEPS
        self.loss_guard = LossGuard(self.folder, skipped_steps)
        self.raw = self.model
        self.identity = identity_of(config, self.contents)
        drop_by_sample(self.model)
        state = load_state(self.folder)
        if state is not None:
            self._require_same_run(state)
        self.prepared, self.optimizer = self.accelerator.prepare(self.model, self._optimizer())
        # Only now are the parameters where and how they will be trained.
        decay = config.run.ema_decay
        self.ema = Ema(self.model, decay) if decay > 0 else None
        if state is not None:
            self._resume(state)
            log.info("Resumed at step %d.", self.step)

    def _optimizer(self) -> Any:
        # Without factors one group, as in the states that were saved before there were any.
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                factors = (f for end, f in self.rate_factors.items() if name.endswith(end))
                groups.setdefault(next(factors, 1.0), []).append(parameter)
        if not groups:
            raise ConfigError(
                f"The stage '{self.config.stage}' trains nothing in this model; choose another."
            )
        settings = self.config.optimizer
        return torch.optim.AdamW(
            [{"params": group, "rate_factor": factor} for factor, group in groups.items()],
            lr=settings.rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )

    def _select(self) -> list[str]:
        if self.config.stage != "lora":
            return select_parameters(self.model.unet, self.model.projector, self.stage)
        self.model.requires_grad_(False)
        return add_lora(self.model.unet, self.config.lora, self.config.run.seed)

    def _require_same_run(self, state: dict[str, Any]) -> None:
        """Take the state's weights. Raises ConfigError when it is that of another run."""
        # States of before 0.2.0 do not say which run they are of.
        saved = state.get("identity", self.identity)
        for change in require_same_run(saved, self.identity, self.folder):
            log.info("Since the last start: %s.", change)
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise ConfigError(
                f"{shown(self.folder)} holds the state of another model: {shown(error)} "
                "Choose another "
                "output."
            ) from None

    def _resume(self, state: dict[str, Any]) -> None:
        """Continue from the state. Raises ConfigError where it does not fit what trains."""
        try:
            self._take(state)
        except (ConfigError, torch.OutOfMemoryError):
            raise
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise ConfigError(
                f"{shown(self.folder / STATE_FILE)} is damaged, or of a run that trained something "
                f"else ({shown(repr(error))}); restore it, or choose another output."
            ) from None

    def _take(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        if uses_deepspeed(self.accelerator):
            load_deepspeed(self.prepared, self.folder, self.step)
        elif state["optimizer"] is None:
            raise ConfigError(
                f"The run in {shown(self.folder)} was saved under DeepSpeed; continue with it, or "
                "choose another output."
            )
        else:
            load_optimizer(self.optimizer.optimizer, state["optimizer"])
        if self.ema is not None and state["ema"] is not None:
            self.ema.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def save(self) -> None:
        """Write the state, whole; only the main process does. Every process must call it.

        Raises ConfigError for weights that are not finite, or a full disk.
        """
        accelerator, main = self.accelerator, self.accelerator.is_main_process
        require_finite_weights(self.raw, accelerator, self.folder, self.step)
        accelerator.wait_for_everyone()
        deepspeed = uses_deepspeed(accelerator)
        if deepspeed:
            save_deepspeed(self.prepared, self.folder, self.step)
        state = {
            "model": gathered(self.raw.state_dict(), keep=main),
            "optimizer": None
            if deepspeed
            else gathered(self.optimizer.optimizer.state_dict(), keep=main),
            "ema": None if self.ema is None else gathered(self.ema.state_dict(), keep=main),
            "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
            "step": self.step,
            "identity": self.identity,
        }
        if main:
            save_state(self.folder, state)
            drop_older_deepspeed(self.folder, self.step)
        accelerator.wait_for_everyone()

    @property
    def sliced(self) -> bool:
        """True where every process must take part in a forward pass (FSDP)."""
        return is_sliced(self.raw)

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the model has its averaged weights; without EMA its own."""
        return nullcontext() if self.ema is None else self.ema.applied(self.raw)

    def train(self) -> int:
        """Run to the last step or the time limit, save, and return the step reached."""
        run, began = self.config.run, time.monotonic()
        if self.accelerator.is_main_process:
            remove_abandoned(self.folder)
            require_space(self.folder, self._room())
        configure(self.accelerator, self.config)
        batches = self._micro_batches()
        self.prepared.train()
        while self.step < run.steps:
            loss, buckets = self._one_step(batches)
            self.step += 1
            if self.on_step is not None and self.accelerator.is_main_process:
                self.on_step(self.step, loss, buckets)
            if run.sample_every and self.step % run.sample_every == 0 and self.on_sample:
                self.on_sample(self.step, self)
            if run.save_every and self.step % run.save_every == 0:
                self.save()
            if self._out_of_time(began):
                log.info("Time limit reached at step %d.", self.step)
                break
        self.save()
        self._report_skipped()
        return self.step

    def _room(self) -> int:
        """Bytes that the folder will need: two states, for a moment, and the checkpoint."""
        whole = sum(p.numel() for p in self.raw.parameters())
        trained = sum(p.numel() for p in self.raw.parameters() if p.requires_grad)
        state = 4 * whole + 4 * trained * (2 if self.ema is None else 3)
        path = self.folder / STATE_FILE
        there = path.stat().st_size if path.exists() else 0
        return 2 * state + 2 * whole - min(there, state)

    def _out_of_time(self, began: float) -> bool:
        """Decided together: processes that stopped at different steps would wait forever."""
        limit = self.config.run.time_limit * 60
        if not limit:
            return False
        spent = torch.tensor([time.monotonic() - began], device=self.accelerator.device)
        longest: Any = self.accelerator.gather(spent)
        return float(longest.max()) > limit

    def _report_skipped(self) -> None:
        if self.skipped and self.accelerator.is_main_process:
            log.warning("Broken or short files met, and others taken: %d.", self.skipped)

    def _micro_batches(self) -> Iterator[_Loaded]:
        run, accelerator = self.config.run, self.accelerator
        sampler = MicroBatches(
            run.batch_size,
            run.accumulate,
            accelerator.process_index,
            accelerator.num_processes,
            self.step,
        )
        loader = DataLoader(
            _Samples(self.source, run.seed),
            batch_sampler=sampler,
            num_workers=self.config.data.workers,
            collate_fn=_joined,
        )
        return iter(loader)

    def _one_step(self, batches: Iterator[_Loaded]) -> tuple[float, dict[str, float]]:
        config, accelerator = self.config, self.accelerator
        rate = learning_rate(config.optimizer, self.step, config.run.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)  # Older states have none.
        losses, timesteps, skipped = [], [], 0
        for _ in range(config.run.accumulate):
            loaded = next(batches)
            if loaded.fault:
                raise ConfigError(loaded.fault)
            skipped += loaded.skipped
            with autocast(accelerator, config):
                batch = self.maker(loaded.clips, loaded.numbers).to(accelerator.device)
            losses.append(self._accumulate(batch))
            timesteps.append(batch.timesteps)
        # The step's only wait for the device. DeepSpeed has taken its step already, unsaved.
        figures = self._figures(torch.cat(losses), torch.cat(timesteps), skipped)
        self.loss_guard.check(figures[0], self.step + 1)
        if config.optimizer.clip_norm > 0:
            accelerator.clip_grad_norm_(self.prepared.parameters(), config.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.raw)
        return figures

    def _accumulate(self, batch: Batch) -> Tensor:
        """Add a micro-batch's gradient; returns its losses, `[B]`."""
        accelerator = self.accelerator
        # Gradient checkpointing runs layers again in the backward pass, under the same bypass.
        bypass = bypass_temporal(self.raw.unet, self.stage.images_only)
        with accelerator.accumulate(self.prepared), bypass:
            with autocast(accelerator, self.config):
                output = self.prepared(
                    batch.noisy,
                    batch.concat,
                    batch.timesteps,
                    batch.text,
                    batch.image_tokens,
                    batch.speed,
                    dropout_seeds=batch.dropout_seeds,
                )
            losses = sample_losses(output, batch.target)
            accelerator.backward(losses.mean())
        return losses.detach()

    def _figures(
        self, losses: Tensor, timesteps: Tensor, skipped: int
    ) -> tuple[float, dict[str, float]]:
        """The mean loss over all processes, and by bucket; counts the files skipped."""
        device = self.accelerator.device
        mine = (losses.float(), timesteps, torch.tensor([skipped], device=device))
        # Annotated as whatever nested structure it is given; a tuple of tensors stays one.
        everyones: Any = self.accelerator.gather(mine)
        losses, timesteps, counts = (t.cpu() for t in everyones)
        self.skipped += int(counts.sum())
        return float(losses.mean()), bucket_means(losses, timesteps)


def _joined(rows: list[_Loaded]) -> _Loaded:
    return _Loaded(
        [n for row in rows for n in row.numbers],
        [clip for row in rows for clip in row.clips],
        sum(row.skipped for row in rows),
        next((row.fault for row in rows if row.fault), ""),
    )


def bucket_means(losses: Tensor, timesteps: Tensor) -> dict[str, float]:
    """Mean loss by quarter of the timesteps, for those quarters that occur."""
    width = 1000 // TIMESTEP_BUCKETS
    out = {}
    for i in range(TIMESTEP_BUCKETS):
        chosen = losses[timesteps // width == i]
        if len(chosen):
            out[f"{i * width}-{(i + 1) * width - 1}"] = float(chosen.mean())
    return out
