"""Results that are computed once and kept, so a stopped run continues and processes share."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dc_model.shown import shown
from training.files import write_whole

from .command import EvaluationError

SETTINGS = "settings.json"


def identity(path: Path) -> str:
    """Tells a file from another one, and from itself after a change."""
    state = path.stat()
    return f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"


def cached(folder: Path, key: str, make: Callable[[], Tensor]) -> Tensor:
    """What `make` gives for `key`, float64; made once, then read from `folder`."""
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    if not path.exists():
        values = make().double().numpy()
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda part: _save(part, values))
    return torch.from_numpy(np.load(path))


def _save(path: Path, values: Any) -> None:
    with path.open("wb") as file:
        np.save(file, values)


def require_same_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note the settings in a new folder; EvaluationError when it was begun with other ones."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS
    # As JSON keeps them: lists for tuples.
    wanted = json.loads(json.dumps(dict(settings)))
    if not path.exists():
        write_whole(path, lambda part: _write_new(part, path, wanted))
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        begun = None
    if not isinstance(begun, dict):
        raise EvaluationError(
            f"{shown(path)} does not hold the settings that the folder was begun with; choose "
            "another folder, or restore the file."
        )
    changed = sorted(k for k in begun.keys() | wanted.keys() if begun.get(k) != wanted.get(k))
    if changed:
        found = ", ".join(f"{k} {begun.get(k)!r} (now {wanted.get(k)!r})" for k in changed)
        raise EvaluationError(
            f"{shown(folder)} was begun with {shown(found)}; choose another --work, or the same "
            "settings."
        )


def _write_new(part: Path, path: Path, settings: Mapping[str, Any]) -> None:
    """Another process may have noted its own meanwhile: those stay."""
    text = json.dumps(settings, indent=2) if not path.exists() else path.read_text("utf-8")
    part.write_text(text, encoding="utf-8")
