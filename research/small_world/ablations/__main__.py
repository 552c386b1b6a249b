"""Trains, samples and measures everything that is asked; see the package."""

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.files import write_text
from training.model import VideoModel

from ..train.extractor import load_extractor
from ..world.render import render_clip
from .arms import ARMS, BASE, BASE_ARM, FULL, Plan
from .figures import figures
from .report import report
from .runs import DEMO, Runs
from .trials import TRIALS, Trial, guidance_grid, lambda_trials, measured_scenes, sample

log = logging.getLogger(__name__)

EXTRACTOR = DEMO.with_name("small_extractor.safetensors")
WORDS = ("opposite words", "no words")
REFERENCES = ("still picture", "autoencoder alone", "true clips")


@dataclass(frozen=True, slots=True)
class Job:
    """One set of clips: an arm (or a reference) with a seed, sampled in one way."""

    arm: str
    seed: int
    trial: str = ""

    @property
    def name(self) -> str:
        return f"{self.arm} {self.seed} {self.trial}".strip()


def jobs(seeds: int) -> Iterator[Job]:
    """In the order of their use: an interrupted run has a first answer to everything."""
    yield from (Job(name, 0) for name in (*REFERENCES, BASE, FULL))
    trials = (*WORDS, *lambda_trials())
    yield from (Job(FULL, 0, trial) for trial in (*trials, *guidance_grid()))
    yield from (Job(name, 0) for name in ARMS if name != FULL)
    for seed in range(1, seeds):
        yield from (Job(name, seed) for name, arm in ARMS.items() if seed < arm.seeds)
    for seed in range(1, seeds):
        yield from (Job(FULL, seed, trial) for trial in trials)


class Measuring:
    """Does jobs, keeping each result in its own file."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self.extractor = load_extractor(EXTRACTOR)
        self.loaded: tuple[str, VideoModel] | None = None

    def result_file(self, job: Job) -> Path:
        return self.runs.folder / "figures" / f"{job.name}.json"

    def do(self, job: Job) -> None:
        """Sample and measure, unless that was done before."""
        if self.result_file(job).exists():
            return
        trial = TRIALS[job.trial]
        scenes = measured_scenes(job.seed, int(self.runs.plan.clips * trial.share))
        clips = self.runs.folder / "clips" / f"{job.name}.npy"
        if not clips.exists():
            clips.parent.mkdir(parents=True, exist_ok=True)
            np.save(clips, self._videos(job, trial))
        found = figures(np.load(clips), scenes, trial, self.extractor)
        write_text(self.result_file(job), json.dumps(found))
        shown = (
            "direction as prompted",
            "size as prompted",
            "first frame, dB",
            "all frames, dB",
            "FVD",
        )
        log.info("%s: %s", job.name, {k: found[k]["mean"] for k in shown})

    def _videos(self, job: Job, trial: Trial) -> np.ndarray:
        plan, encoders = self.runs.plan, self.runs.encoders
        scenes = measured_scenes(job.seed, int(plan.clips * trial.share))
        if job.arm not in REFERENCES:
            arm = ARMS.get(job.arm, BASE_ARM)
            return sample(self._model(job), arm, encoders, scenes, trial, plan)
        true = np.stack([render_clip(s)[: plan.num_frames] for s in scenes])
        if job.arm == "still picture":
            true = np.repeat(true[:, :1], true.shape[1], axis=1)
        if job.arm == "autoencoder alone":
            for i, clip in enumerate(true):
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    frames = encoders.vae.decode(
                        encoders.vae.encode(torch.from_numpy(clip) * 2 - 1)
                    )
                true[i] = (frames.float().clamp(-1, 1).numpy() + 1) / 2
        return (true * 255).round().astype(np.uint8)

    def _model(self, job: Job) -> VideoModel:
        key = f"{job.arm} {job.seed}"
        if self.loaded is None or self.loaded[0] != key:
            runs = self.runs
            model = runs.base_model() if job.arm == BASE else runs.arm(job.arm, job.seed)
            self.loaded = (key, model)
        return self.loaded[1]

    def results(self, seeds: int) -> dict[str, Any]:
        """All figures so far, by arm and trial a list over seeds, and the learned gates."""
        out: dict[str, Any] = {"plan": asdict(self.runs.plan), "figures": {}, "gates": []}
        for job in jobs(seeds):
            if self.result_file(job).exists():
                found = json.loads(self.result_file(job).read_text(encoding="utf-8"))
                trials = out["figures"].setdefault(job.arm, {})
                trials.setdefault(job.trial, []).append(found)
        for seed in range(seeds):
            weights = self.runs.folder / f"{FULL} {seed}" / "0" / "model.pt"
            if weights.exists():
                out["gates"].append(gates(torch.load(weights, weights_only=True)))
        return out


def gates(state: dict[str, torch.Tensor]) -> list[float]:
    """lambda = tanh(alpha) + 1 of every image cross-attention, in the order of the forward pass."""
    alphas = [v for k, v in state.items() if k.endswith("attn2.alpha")]
    return [round(float(torch.tanh(alpha) + 1), 4) for alpha in alphas]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for everything that is made")
    parser.add_argument("--demo", type=Path, default=DEMO, help="whose U-Net the base starts from")
    parser.add_argument("--seeds", type=int, default=3, help="of the headline arms")
    parser.add_argument("--report", type=Path, help="write the tables here, in Markdown")
    for item in fields(Plan):
        flag = f"--{item.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(item.default), default=item.default)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = Plan(**{item.name: getattr(arguments, item.name) for item in fields(Plan)})
    measuring = Measuring(Runs(arguments.folder, arguments.demo, plan))
    for job in jobs(arguments.seeds):
        measuring.do(job)
        text = json.dumps(measuring.results(arguments.seeds), indent=1)
        file = arguments.folder / "results.json"
        write_text(file, text)
    tables = report(measuring.results(arguments.seeds))
    if arguments.report:
        arguments.report.write_text(tables, encoding="utf-8")
    log.info("\n%s", tables)


if __name__ == "__main__":
    main()
