"""Whether a saved run is the one that is asked for: what it learns from must be the same.

A run may continue with more steps, on other processes, at another rate or from a folder that moved.
It may not continue with another stage, model, data set or seed: that would be neither run.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dc_model.shown import shown

from .config import ConfigError, ModelConfig, TrainConfig
from .data.entries import Entry

# How the work is done, not what is learned.
MAY_CHANGE = frozenset(
    {
        "output",
        "data.workers",
        *(f"run.{name}" for name in ("steps", "batch_size", "accumulate", "mixed_precision")),
        *(f"run.{name}" for name in ("gradient_checkpointing", "ema_decay", "dropout")),
        *(f"run.{name}" for name in ("log_every", "save_every", "sample_every", "time_limit")),
        *(f"optimizer.{name}" for name in ("rate", "warmup_steps", "decay", "clip_norm")),
    }
)
# Files may move; their content is compared.
PLACES = frozenset({"model.checkpoint", "model.encoders", "model.tokenizer", "data.path"})
SAMPLED_PIECES, PIECE = 64, 65536

Identity = Mapping[str, Any]


def identity_of(config: TrainConfig, contents: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a run's state keeps of it, by dotted key. contents: digests, by the key of the place."""
    values = dict(_flat(config.model_dump(mode="json"), ""))
    folder = values.pop("data.cache_folder")
    values["data.cache"] = bool(values["data.cache"] or folder)
    return {k: v for k, v in values.items() if k not in PLACES} | {**(contents or {})}


def _flat(values: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        # A mapping of weights is one value; the sections are what has names of their own.
        if isinstance(value, dict) and not prefix:
            yield from _flat(value, f"{name}.")
        else:
            yield f"{prefix}{name}", value


def require_same_run(saved: Identity, now: Identity, folder: Path) -> list[str]:
    """What changed of how the work is done. Raises ConfigError where it is another run."""
    keys = (saved.keys() | now.keys()) - {"data.cache_folder"}  # Some older states have it.
    changed = [k for k in sorted(keys) if saved.get(k) != now.get(k)]
    other = [k for k in changed if k not in MAY_CHANGE]
    if other:
        found = "; ".join(_change(k, saved.get(k), now.get(k)) for k in other)
        raise ConfigError(
            f"{shown(folder)} holds another run: {found}. Set these back to continue it, or choose "
            "another output. To start from its weights, give its model.safetensors as "
            "model.checkpoint."
        )
    return [_change(k, saved.get(k), now.get(k)) for k in changed]


def _change(key: str, saved: Any, now: Any) -> str:
    if key in PLACES:
        return f"{key} has other content than it had"
    return f"{key} was {saved!r} and is {now!r}"


def contents_of(config: ModelConfig, entries: Iterable[Entry]) -> dict[str, str]:
    """Digests of the files that a run learns from, by the key that names their place."""
    vocabulary = str(Path(config.tokenizer) / "vocab.json") if config.tokenizer else ""
    files = {
        "model.checkpoint": config.checkpoint,
        "model.encoders": config.encoders,
        "model.tokenizer": vocabulary,
    }
    digests = {key: file_digest(Path(path)) for key, path in files.items() if path}
    listing = hashlib.blake2b(digest_size=16)
    for entry in entries:
        listing.update(repr((entry.key, entry.caption, entry.motion_caption)).encode())
    return {**digests, "data.path": listing.hexdigest()}


def file_digest(path: Path) -> str:
    """Tells checkpoints apart by their size and by pieces from all over them."""
    size = path.stat().st_size
    hashed = hashlib.blake2b(str(size).encode(), digest_size=16)
    step = max(PIECE, size // SAMPLED_PIECES)
    with path.open("rb") as file:
        for start in (*range(0, size, step), max(0, size - PIECE)):
            file.seek(start)
            hashed.update(file.read(PIECE))
    return hashed.hexdigest()
