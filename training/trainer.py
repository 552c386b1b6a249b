"""The training loop over Hugging Face Accelerate: one CPU, one GPU, many GPUs or many nodes.

A step is a pure function of the weights, the optimizer's state and the step's number, so a resumed
run continues bit for bit on a CPU, and N processes do what one does with the same global batch.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .batch import Batch, BatchMaker
from .config import OptimizerConfig, TrainConfig
from .data.clip import Clip, ClipSource
from .data.order import MicroBatches, item_of, sample_seed
from .ema import Ema
from .lora import add_lora
from .model import VideoModel
from .objective import sample_losses
from .saving import load_state, save_state
from .stages import bypass_temporal, select_parameters

log = logging.getLogger(__name__)

TIMESTEP_BUCKETS = 4


class _Samples(Dataset[tuple[int, Clip]]):
    """Sample number -> (number, clip), for DataLoader workers."""

    def __init__(self, source: ClipSource, seed: int):
        self.source, self.seed = source, seed

    def __getitem__(self, sample: int) -> tuple[int, Clip]:
        index = item_of(self.seed, sample, len(self.source))
        return sample, self.source.load(index, sample_seed(self.seed, sample, purpose=1))


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of `step`: linear warm-up, then constant or a cosine over the second half."""
    rate = config.rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay == "cosine" and step > steps / 2:
        progress = min(1.0, (step - steps / 2) / (steps / 2))
        rate *= 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
    return rate


@dataclass
class Trainer:
    """One stage, the batch maker's. on_step is told (step, mean loss, losses per bucket)."""

    config: TrainConfig
    model: VideoModel
    source: ClipSource
    maker: BatchMaker
    accelerator: Accelerator
    on_step: Callable[[int, float, dict[str, float]], None] | None = None
    on_sample: Callable[[int, "Trainer"], None] | None = None

    def __post_init__(self) -> None:
        config = self.config
        self.stage = self.maker.stage
        self.trained = self._select()
        self.model.unet.gradient_checkpointing = config.run.gradient_checkpointing
        self.folder = Path(config.output)
        self.step = 0
        self.raw = self.model
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(f"The stage {config.stage!r} trains nothing in this model.")
        self.optimizer: Any = torch.optim.AdamW(
            parameters,
            lr=config.optimizer.rate,
            betas=config.optimizer.betas,
            weight_decay=config.optimizer.weight_decay,
        )
        decay = config.run.ema_decay
        self.ema = Ema(self.model, decay) if decay > 0 else None
        self._resume()
        self.prepared, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)

    def _select(self) -> list[str]:
        if self.config.stage != "lora":
            return select_parameters(self.model.unet, self.model.projector, self.stage)
        self.model.requires_grad_(False)
        return add_lora(self.model.unet, self.config.lora)

    def _resume(self) -> None:
        state = load_state(self.folder)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None and state["ema"] is not None:
            self.ema.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])
        log.info("Resumed at step %d.", self.step)

    def save(self) -> None:
        """Write the state; only the main process does. Every process must call it."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            save_state(
                self.folder,
                model=self.raw,
                optimizer=getattr(self.optimizer, "optimizer", self.optimizer),
                ema=self.ema,
                scaler=self.accelerator.scaler,
                step=self.step,
            )
        self.accelerator.wait_for_everyone()

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the model has its averaged weights; without EMA its own."""
        return nullcontext() if self.ema is None else self.ema.applied(self.raw)

    def train(self) -> int:
        """Run to the last step or the time limit, save, and return the step reached."""
        run, began = self.config.run, time.monotonic()
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
            if run.time_limit and time.monotonic() - began > run.time_limit * 60:
                log.info("Time limit reached at step %d.", self.step)
                break
        self.save()
        return self.step

    def _micro_batches(self) -> Iterator[tuple[list[int], list[Clip]]]:
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
            collate_fn=_columns,
        )
        return iter(loader)

    def _one_step(
        self, batches: Iterator[tuple[list[int], list[Clip]]]
    ) -> tuple[float, dict[str, float]]:
        config, accelerator = self.config, self.accelerator
        # Dropout is the one draw that uses the global state; this makes it the step's own.
        set_seed(sample_seed(config.run.seed, self.step, 2 + accelerator.process_index) % 2**31)
        rate = learning_rate(config.optimizer, self.step, config.run.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses, timesteps = [], []
        for micro in range(config.run.accumulate):
            numbers, clips = next(batches)
            with accelerator.autocast():
                batch = self.maker(clips, numbers).to(accelerator.device)
            last = micro == config.run.accumulate - 1
            with nullcontext() if last else accelerator.no_sync(self.prepared):
                each = self._losses(batch)
                accelerator.backward(each.mean() / config.run.accumulate)
            losses.append(each.detach())
            timesteps.append(batch.timesteps)
        if config.optimizer.clip_norm > 0:
            accelerator.clip_grad_norm_(self.prepared.parameters(), config.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.raw)
        # Annotated as whatever nested structure it is given; a tensor stays one.
        gathered: Any = accelerator.gather(torch.cat(losses))
        times: Any = accelerator.gather(torch.cat(timesteps))
        gathered, times = gathered.float().cpu(), times.cpu()
        return float(gathered.mean()), bucket_means(gathered, times)

    def _losses(self, batch: Batch) -> Tensor:
        with self.accelerator.autocast(), bypass_temporal(self.raw.unet, self.stage.images_only):
            output = self.prepared(
                batch.noisy,
                batch.concat,
                batch.timesteps,
                batch.text,
                batch.image_tokens,
                batch.speed,
            )
        return sample_losses(output, batch.target)


def _columns(rows: list[tuple[int, Clip]]) -> tuple[list[int], list[Clip]]:
    return [number for number, _ in rows], [clip for _, clip in rows]


def bucket_means(losses: Tensor, timesteps: Tensor) -> dict[str, float]:
    """Mean loss by quarter of the timesteps, for those quarters that occur."""
    width = 1000 // TIMESTEP_BUCKETS
    out = {}
    for i in range(TIMESTEP_BUCKETS):
        chosen = losses[timesteps // width == i]
        if len(chosen):
            out[f"{i * width}-{(i + 1) * width - 1}"] = float(chosen.mean())
    return out
