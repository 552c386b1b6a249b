"""What a run found, as one JSON file that the report and other runs read."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dc_model.shown import shown
from training.files import write_text

from .command import EvaluationError
from .figures import Row
from .intervals import Estimate
from .protocol import Measured

RESULTS = "results.json"
_OF_SYSTEM = {"name", "clips", "figures", "curve", "endless", "failures"}
_PACKAGES = ("torch", "numpy", "scipy", "av", "opencv-python-headless")


def results_of(
    title: str,
    measured: Measured,
    columns: Mapping[str, str],
    rows: Sequence[Row],
    differences: Mapping[str, Mapping[str, Estimate]],
    failures: Mapping[str, Sequence[str]],
    not_measured: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that the report shows, without times and paths: the same run, the same bytes."""
    return {
        "title": title,
        "protocol_hash": measured.hash(),
        "protocol": measured.settings(),
        "preset": measured.protocol.preset,
        "columns": dict(columns),
        "systems": [
            {
                "name": row.name,
                "clips": len(row.clips),
                "figures": {key: asdict(row.figures[key]) for key in columns if key in row.figures},
                "differences": {
                    key: asdict(differences[row.name][key])
                    for key in columns
                    if key in differences.get(row.name, {})
                },
                "curve": row.curve and [list(part) for part in row.curve],
                "endless": row.endless,
                "failures": list(failures.get(row.name, ())),
            }
            for row in rows
        ],
        "failures": list(failures.get("true", ())),
        "not_measured": dict(not_measured),
        "versions": _versions(),
    }


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    write_text(folder / RESULTS, text)


def read_results(path: Path) -> dict[str, Any]:
    """Another run's results: its folder or the file. Raises EvaluationError."""
    file = path / RESULTS if path.is_dir() else path
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{shown(file)} holds no results ({shown(error)}).") from error
    if not _are_results(loaded):
        raise EvaluationError(f"{shown(file)} holds no results; give a {RESULTS} of another run.")
    return loaded


def _are_results(loaded: object) -> bool:
    """Whether it has what the report shows of another run."""
    return (
        isinstance(loaded, dict)
        and isinstance(loaded.get("protocol"), dict)
        and isinstance(rows := loaded.get("systems"), list)
        and all(isinstance(row, dict) and row.keys() >= _OF_SYSTEM for row in rows)
    )


def labelled(runs: Sequence[Path]) -> dict[str, Path]:
    """Runs by their folder's name, with as many parents before it as tell it from the others."""
    # Of `.`, too, the name; a run that is given twice counts once.
    whole = {Path(os.path.abspath(run.parent if run.name == RESULTS else run)): run for run in runs}

    def label(run: Path) -> str:
        ends = ([other.parts[-depth:] for other in whole] for depth in range(1, len(run.parts) + 1))
        depth = next(d for d, end in enumerate(ends, 1) if end.count(run.parts[-d:]) == 1)
        return "/".join(run.parts[-depth:])

    return {label(run): given for run, given in whole.items()}


def beside(results: dict[str, Any], other: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The systems of two runs in one table; the other run's without differences, which are against
    its own first system. Raises EvaluationError for another protocol."""
    here, there = results["protocol"], other["protocol"]
    changed = sorted(k for k in here.keys() | there.keys() if here.get(k) != there.get(k))
    if changed:
        found = ", ".join(f"{k} {there.get(k)!r} (here {here.get(k)!r})" for k in changed)
        raise EvaluationError(
            f"{shown(name)} was measured by another protocol: {shown(found, 300)}; figures of two "
            "protocols are not comparable. Use one for both."
        )
    rows = [
        {**row, "name": f"{row['name']} ({name})", "differences": {}} for row in other["systems"]
    ]
    return {**results, "systems": [*results["systems"], *rows]}


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
