"""The paper's claims as differences that were named before the runs, and how they are decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .arms import CELLS, FIRST, FIRST_ALL_LAYERS, FIRST_NO_PICTURE, FIRST_NO_VDG, FULL
from .figures import ENDPOINTS
from .statistics import Difference, Verdict, difference, holm, verdict
from .trials import FRAME_FOUR, MOTION_WORDS, NO_WORDS, OPPOSITE_WORDS, lambda_trials

Rows = Mapping[str, Mapping[str, Mapping[str, list[list[float]]]]]  # arm, trial, seed, clip

UNITS = {"picture": "dB", "nearest": "dB", "distance": "of the way"}  # The others are in points.
MARGINS = {"picture": 0.5, "nearest": 0.5}  # The others': 5 points.
LAMBDA_CELL = "no VDG, context"


@dataclass(frozen=True, slots=True)
class Side:
    """One set of clips: an arm, sampled in one way."""

    arm: str
    trial: str = ""

    def __str__(self) -> str:
        return f"{self.arm}, {self.trial}" if self.trial else self.arm


@dataclass(frozen=True, slots=True)
class Test:
    """An endpoint of `first` against `second`. expected: what the paper's claim means for it.

    main: it decides the claim; the others only explain it. afterwards: named when the first figures
    had been seen, so it can suggest and not decide.
    """

    first: Side
    second: Side
    endpoint: str
    expected: Verdict = "more"
    main: bool = False
    afterwards: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A question, what the paper says, and the tests among which Holm adjusts."""

    name: str
    question: str
    paper: str
    tests: tuple[Test, ...]


def _vdg() -> tuple[Test, ...]:
    with_vdg, without = Side(FIRST, MOTION_WORDS), Side(FIRST_NO_VDG, MOTION_WORDS)
    full, blurred, none = (Side(name, MOTION_WORDS) for name in CELLS if CELLS[name].context)
    return (
        Test(with_vdg, without, "nearest", main=True),
        Test(with_vdg, without, "shape", main=True),
        Test(with_vdg, without, "kind"),
        Test(with_vdg, without, "colour"),
        Test(full, none, "nearest"),
        Test(full, blurred, "shape"),
        Test(blurred, none, "colour"),
    )


def _context() -> tuple[Test, ...]:
    names = list(CELLS)
    first = Side(FIRST_NO_VDG, MOTION_WORDS), Side(FIRST_NO_PICTURE, MOTION_WORDS)
    cells = [(Side(a), Side(b)) for a, b in zip(names[::2], names[1::2], strict=True)]
    return tuple(
        Test(on, off, endpoint, main=(on, off) == first and endpoint != "shape")
        for on, off in (first, *cells)
        for endpoint in ("nearest", "colour", "shape")
    )


def _lambda() -> tuple[Test, ...]:
    plain = Side(LAMBDA_CELL, MOTION_WORDS)
    trials = [Side(LAMBDA_CELL, trial) for trial in lambda_trials()]
    return tuple(
        Test(side, plain, endpoint, "less", main="middle" in side.trial and extreme in side.trial)
        for side in trials
        for endpoint, extreme in (("distance", "x 2"), ("nearest", "x 0"))
        if not side.trial.endswith("0.5")
    )


def _frame() -> tuple[Test, ...]:
    return tuple(
        Test(Side(FULL, trial), Side(FIRST, trial), endpoint, main=not trial)
        for trial in ("", FRAME_FOUR)
        for endpoint in ("picture", "direction")
    )


def _stages() -> tuple[Test, ...]:
    return tuple(
        Test(Side(name), Side(FULL), endpoint, main=endpoint != "kind")
        for name in ("three stages, equal in all", "three stages, equal last")
        for endpoint in ("picture", "direction", "kind")
    )


def _layers() -> tuple[Test, ...]:
    return tuple(
        Test(Side(all_layers, words), Side(spatial, words), endpoint, "less", main=main)
        for all_layers, spatial, words in (
            (FIRST_ALL_LAYERS, FIRST, MOTION_WORDS),
            ("all layers", FULL, ""),
        )
        for endpoint, main in (
            ("picture", bool(words)),
            ("direction", bool(words)),
            ("kind", False),
        )
    )


CLAIMS = (
    Claim(
        "1. VDG",
        "Does visual detail guidance carry the picture's detail?",
        "The recipe keeps it, to add the detail that the context cannot carry.",
        _vdg(),
    ),
    Claim(
        "2. Context",
        "Does the context stream carry what VDG lacks?",
        "The recipe keeps both streams.",
        _context(),
    ),
    Claim(
        "3. λ",
        "Do the middle layers' gates trade shape for motion?",
        "Section 3.2: raised in the middle layers λ stills the motion, lowered there it loses the "
        "object's shape.",
        _lambda(),
    ),
    Claim(
        "4. Random frame",
        "Is a random condition frame better than the first?",
        "The recipe draws it at random, to keep the model from copying it into its place.",
        _frame(),
    ),
    Claim(
        "5. Stages",
        "Are three stages better than one?",
        "The recipe trains P first, before it meets VDG.",
        _stages(),
    ),
    Claim(
        "6. Layers",
        "Is it better to leave the temporal layers alone?",
        "The recipe trains the spatial layers alone, to keep the motion that the base knows.",
        _layers(),
    ),
    Claim(
        "7. Text",
        "Does the text decide the motion?",
        "The words are to control it, best with captions of the motion.",
        (
            Test(Side(FULL), Side(FULL, NO_WORDS), "direction", main=True),
            Test(Side(FULL, OPPOSITE_WORDS), Side(FULL, NO_WORDS), "direction", main=True),
            Test(Side(FULL), Side("trained without text"), "direction"),
            Test(Side(FULL), Side("trained without text"), "picture"),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A test's difference, its p-value after Holm, and what both decide."""

    test: Test
    difference: Difference
    adjusted: float
    verdict: Verdict


def column(rows: Rows, side: Side, endpoint: str) -> dict[str, np.ndarray]:
    """An endpoint's values over scenes, by seed."""
    place = ENDPOINTS.index(endpoint)
    seeds = rows.get(side.arm, {}).get(side.trial, {})
    return {seed: np.array([clip[place] for clip in clips]) for seed, clips in seeds.items()}


def paired(rows: Rows, test: Test) -> tuple[np.ndarray, np.ndarray] | None:
    """Both sides `[seeds, scenes]`, cut to what both have; None where nothing is."""
    first, second = (column(rows, side, test.endpoint) for side in (test.first, test.second))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    scenes = min(len(values[seed]) for values in (first, second) for seed in seeds)
    both = (np.stack([values[s][:scenes] for s in seeds]) for values in (first, second))
    return next(both), next(both)


def judged(claim: Claim, rows: Rows) -> list[Found]:
    """Every test of a claim that has figures; Holm's adjustment is over those named before."""
    planned = _judged([test for test in claim.tests if not test.afterwards], rows)
    return planned + _judged([test for test in claim.tests if test.afterwards], rows)


def _judged(tests: list[Test], rows: Rows) -> list[Found]:
    pairs = [(test, paired(rows, test)) for test in tests]
    differences = [(test, difference(*both)) for test, both in pairs if both is not None]
    adjusted = holm([found.p for _, found in differences])
    return [
        Found(test, found, p, verdict(found, p, MARGINS.get(test.endpoint, 0.05)))
        for (test, found), p in zip(differences, adjusted, strict=True)
    ]


def is_decided(claim: Claim, found: list[Found]) -> bool:
    """Whether every main test of the claim is decided, in whatever direction."""
    verdicts = [f.verdict for f in found if f.test.main]
    complete = len(verdicts) == sum(test.main for test in claim.tests)
    return complete and "undecided" not in verdicts


def latest(claim: Claim, runs: Sequence[Rows]) -> Rows:
    """The figures of the last run that has those of all main tests, or of any, of a claim."""
    mains = [test for test in claim.tests if test.main]
    for enough in (all, any):
        for rows in reversed(runs):
            if enough(paired(rows, test) is not None for test in mains):
                return rows
    return {}


def answer(claim: Claim, found: list[Found]) -> str:
    """The claim's answer here, in words."""
    if not is_decided(claim, found):
        return "not decided"
    agree = [f.verdict == f.test.expected for f in found if f.test.main]
    if all(agree):
        return "decided: as the paper"
    return "decided: in part as the paper" if any(agree) else "decided: not as the paper"
