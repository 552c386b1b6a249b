"""Trains, samples and measures everything that is asked; see the package."""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.files import write_text
from training.model import VideoModel

from ..judge.shapes import load_classifier
from ..world.render import render_clip
from ..world.scenes import Scene
from .arms import ARMS, Arm, Plan
from .claims import CLAIMS, LAMBDA_CELL, Claim, Side
from .clips import measured_scenes
from .figures import ENDPOINTS, figures
from .runs import DEMO, Runs
from .trials import TRIALS, TWICE, guidance_grid, lambda_trials, sample

log = logging.getLogger(__name__)

BASE = "base"
GATE = 0.9  # The share of directions that the base makes as prompted, or nothing else is run.
REFERENCES = ("true clips", "autoencoder alone")
BASE_ARM = Arm(dose="none", context=False)


def sides(claims: Sequence[Claim] = CLAIMS) -> Iterator[list[Side]]:
    """All that is measured with each seed, in groups that answer something by themselves."""
    tests = [test for claim in claims for test in claim.tests]
    tested = list(dict.fromkeys(side for test in tests for side in (test.first, test.second)))
    main = {side for test in tests if test.main for side in (test.first, test.second)}
    stages = [side for side in tested if len(ARMS[side.arm].stages) > 1]
    first = [side for side in tested if side in main and side not in stages]
    # The sets of one arm after another: its model is loaded once.
    yield sorted(first, key=lambda side: list(ARMS).index(side.arm))
    yield stages
    rest = [*tested, *(Side(LAMBDA_CELL, trial) for trial in lambda_trials())]
    yield [side for side in dict.fromkeys(rest) if side not in (*first, *stages)]


class Measuring:
    """Makes sets of clips and keeps their figures, each set's in its own file."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self.classifier = load_classifier()
        self.loaded: tuple[str, VideoModel] | None = None

    def file(self, side: Side, seed: int) -> Path:
        return self.runs.folder / "figures" / side.arm / f"{side.trial or 'own'} {seed}.json"

    def rows(self, side: Side, seed: int) -> list[list[float]]:
        """The figures of a set, sampled and measured unless that was done before."""
        file, plan = self.file(side, seed), self.runs.plan
        if not file.exists():
            trial = TRIALS[side.trial]
            scenes = measured_scenes(round(plan.clips * trial.share), plan.scenes)
            videos = self._videos(side, seed, scenes)
            found = figures(videos, scenes, trial, self.classifier)
            write_text(file, json.dumps(found))
            means = [round(sum(v) / len(v), 3) for v in zip(*found, strict=True)]
            log.info("%s %d: %s", side, seed, dict(zip(ENDPOINTS, means, strict=True)))
        return json.loads(file.read_text(encoding="utf-8"))

    def _videos(self, side: Side, seed: int, scenes: list[Scene]) -> np.ndarray:
        runs = self.runs
        if side.arm not in REFERENCES:
            arm, trial = ARMS.get(side.arm, BASE_ARM), TRIALS[side.trial]
            return sample(self._model(side.arm, seed), arm, runs.encoders, scenes, trial, runs.plan)
        true = torch.from_numpy(np.stack([render_clip(s, runs.plan.num_frames) for s in scenes]))
        if side.arm == "autoencoder alone":
            vae = runs.encoders.vae
            with torch.no_grad():
                frames = vae.decode(vae.encode(true.flatten(0, 1) * 2 - 1))
            true = (frames.clamp(-1, 1) + 1).reshape(true.shape) / 2
        return (true * 255).round().byte().numpy()

    def _model(self, arm: str, seed: int) -> VideoModel:
        key = f"{arm} {seed}"
        if self.loaded is None or self.loaded[0] != key:
            runs = self.runs
            self.loaded = (key, runs.base_model() if arm == BASE else runs.arm(arm, seed))
        return self.loaded[1]

    def require_base(self) -> None:
        """Raises SystemExit where the base does not move as the words say."""
        rows = self.rows(Side(BASE, TWICE), 0)
        share = sum(row[ENDPOINTS.index("direction")] for row in rows) / len(rows)
        if share < GATE:
            raise SystemExit(
                f"The base makes {share:.0%} of the directions, at least {GATE:.0%} are needed for "
                "any arm to mean something. Train it for longer: a larger --base-steps continues "
                f"it once {self.runs.folder}/base/model.pt and figures/base are removed."
            )

    def results(self) -> dict[str, Any]:
        """Every clip's figures so far, by arm, trial and seed, and the learned gates."""
        out: dict[str, Any] = {"plan": asdict(self.runs.plan), "endpoints": ENDPOINTS}
        for file in sorted((self.runs.folder / "figures").glob("*/*.json")):
            trial, seed = file.stem.rsplit(" ", 1)
            trials = out.setdefault("rows", {}).setdefault(file.parent.name, {})
            seeds = trials.setdefault("" if trial == "own" else trial, {})
            seeds[seed] = json.loads(file.read_text(encoding="utf-8"))
        for name, arm in ARMS.items():
            place = f"{len(arm.stages)}/model.pt"
            for file in sorted((self.runs.folder / "arms").glob(f"{name} *[0-9]/{place}")):
                seed = file.parts[-3].rsplit(" ", 1)[1]
                state = torch.load(file, weights_only=True)
                out.setdefault("gates", {}).setdefault(name, {})[seed] = gates(state)
        return out


def keep_plan(folder: Path, plan: Plan) -> None:
    """Write the plan beside its runs. Raises SystemExit where arms of another plan lie there."""
    file, now = folder / "plan.json", asdict(plan)
    if (folder / "arms").exists() and file.exists():
        saved = json.loads(file.read_text(encoding="utf-8"))
        changed = [f"{k} {saved.get(k)}, not {now[k]}" for k in now if saved.get(k) != now[k]]
        if changed:
            raise SystemExit(
                f"{folder} holds arms with {'; '.join(changed)}. Set these back, or choose another "
                "folder."
            )
    write_text(file, json.dumps(now))


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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    numbers = range(1, len(CLAIMS) + 1)
    parser.add_argument(
        "--only", type=int, nargs="+", choices=numbers, help="what these claims' main tests need"
    )
    for item in fields(Plan):
        flag = f"--{item.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(item.default), default=item.default)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = Plan(**{item.name: getattr(arguments, item.name) for item in fields(Plan)})
    keep_plan(arguments.folder, plan)
    measuring = Measuring(Runs(arguments.folder, arguments.demo, plan))
    measuring.require_base()
    for name in REFERENCES:
        measuring.rows(Side(name), 0)
    file = arguments.folder / "results.json"
    groups = list(sides([CLAIMS[number - 1] for number in arguments.only or numbers]))
    if arguments.only:
        del groups[2:]  # What no main test needs.
    for group in groups:
        for seed in arguments.seeds:
            for side in group:
                measuring.rows(side, seed)
            write_text(file, as_text(measuring.results()))
    if arguments.only:
        return
    for trial in guidance_grid():
        measuring.rows(Side(LAMBDA_CELL, trial), arguments.seeds[0])
    write_text(file, as_text(measuring.results()))


def as_text(results: dict[str, Any]) -> str:
    """JSON with a line for each set of clips."""
    return json.dumps(results, separators=(",", ":")).replace(']],"', ']],\n"') + "\n"


if __name__ == "__main__":
    main()
