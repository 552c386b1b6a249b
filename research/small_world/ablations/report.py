"""The answers and the tables in Markdown.

`python -m research.small_world.ablations.report --results FILE.json --document FILE.md` puts them
between the document's two marks. Of several files, a claim is answered from the last that asked it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .claims import CLAIMS, UNITS, Claim, Found, Rows, Side, answer, is_decided, judged, latest
from .figures import ENDPOINTS
from .trials import GRID

BEGIN, END = "<!-- answers -->", "<!-- end of answers -->"
# Of the figures whose unit is not points: decimals.
DIGITS = {"picture": 1, "nearest": 1, "distance": 2}


def scaled(value: float, endpoint: str) -> str:
    """A figure as it is printed: shares in percent."""
    digits = DIGITS.get(endpoint, 0)
    return f"{value * (1 if endpoint in DIGITS else 100):+.{digits}f}"


def summary(found: Mapping[Claim, list[Found]]) -> str:
    """How many claims are decided, and a line for each."""
    count = sum(is_decided(claim, tests) for claim, tests in found.items())
    main = [item.verdict for tests in found.values() for item in tests if item.test.main]
    settled = sum(word != "undecided" for word in main)
    of = sum(test.main for claim in CLAIMS for test in claim.tests)
    lines = [
        f"**Decided at 95 %: {count} of {len(CLAIMS)} claims**, {settled} of {of} main tests.\n"
    ]
    lines += ["| claim | question | here |", "|---|---|---|"]
    lines += [f"| {c.name} | {c.question} | {answer(c, tests)} |" for c, tests in found.items()]
    return "\n".join(lines) + "\n"


def section(claim: Claim, found: list[Found]) -> str:
    """One claim: the question, the paper, every difference with its interval and verdict."""
    lines = [f"### {claim.name}: {answer(claim, found)}\n", claim.question, f"\n{claim.paper}\n"]
    if not found:
        return "\n".join([*lines, "Not run yet.\n"])
    lines += ["| | difference of | 95 % | unit | p (Holm) | |", "|---|---|---|---|---|---|"]
    lines += [_line(item) for item in found]
    return "\n".join(lines) + "\n"


def _line(item: Found) -> str:
    test, d = item.test, item.difference
    name = f"{test.first} - {test.second}"
    low, mean, high = (scaled(value, test.endpoint) for value in (d.low, d.mean, d.high))
    unit = UNITS.get(test.endpoint, "points")
    named = f"**{name}**" if test.main else name
    cells = (
        f"{named} (afterwards)" if test.afterwards else named,
        test.endpoint,
        f"{mean} [{low}, {high}]",
        unit,
        f"{item.adjusted:.4f}" if item.adjusted >= 1e-4 else "< 0.0001",
        item.verdict,
    )
    return f"| {' | '.join(cells)} |"


def table(rows: Rows, endpoints: Sequence[str] = ENDPOINTS) -> str:
    """Means of every set of clips but the guidance grid's."""
    lines = [f"| | seeds | {' | '.join(endpoints)} |", "|---" * (len(endpoints) + 2) + "|"]
    for arm, trials in rows.items():
        for trial, seeds in trials.items():
            if not trial.startswith("cfg"):
                means = np.mean([np.mean(clips, axis=0) for clips in seeds.values()], axis=0)
                cells = [_mean(value, name) for value, name in zip(means, endpoints, strict=True)]
                lines.append(f"| {Side(arm, trial)} | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean(value: float, endpoint: str) -> str:
    unit = {"dB": " dB", "of the way": ""}.get(UNITS.get(endpoint, ""), " %")
    return scaled(value, endpoint).removeprefix("+") + unit


def grid(rows: Rows, arm: str, endpoint: str) -> np.ndarray:
    """Means by text scale (down) and image scale (across)."""
    place = ENDPOINTS.index(endpoint)
    cells = [[rows[arm][f"cfg {text:g}, image cfg {image:g}"] for image in GRID] for text in GRID]
    means = [[np.mean([c[place] for s in cell.values() for c in s]) for cell in r] for r in cells]
    return np.array(means)


def report(results: Sequence[dict[str, Any]]) -> str:
    """Answers and tables of runs in their order."""
    runs = [result["rows"] for result in results]
    found = {claim: judged(claim, latest(claim, runs)) for claim in CLAIMS}
    parts = [summary(found), *(section(claim, tests) for claim, tests in found.items())]
    for result in results:
        plan = result["plan"]
        title = f"### All means, {plan['arm_steps']} steps, scenes {plan['scenes']}\n"
        parts += [title, table(result["rows"], result["endpoints"])]
    return "\n".join(parts)


def insert(document: str, text: str) -> str:
    """The document with `text` between its marks. Raises ValueError where it lacks them."""
    if BEGIN not in document or END not in document:
        raise ValueError(f"The document has no {BEGIN} and {END}; add these two lines.")
    before, rest = document.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, nargs="+", required=True)
    parser.add_argument("--document", type=Path, required=True)
    arguments = parser.parse_args()
    text = report([json.loads(file.read_text(encoding="utf-8")) for file in arguments.results])
    document = insert(arguments.document.read_text(encoding="utf-8"), text)
    arguments.document.write_text(document, encoding="utf-8")


if __name__ == "__main__":
    main()
