"""What the GPU kit found, as JSON and as text; written after every part, so nothing is lost."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What became of a part.
DONE, FAILED, LEFT_OUT = "done", "failed", "left out"


@dataclass
class Report:
    """Results by part. machine: device and versions. Each part has a `state`."""

    folder: Path
    minutes: float
    machine: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return self.minutes * 60 - self.passed

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def whole(self) -> bool:
        """Whether nothing failed; what was left out does not count."""
        return all(part["state"] != FAILED for part in self.parts.values())

    def add(self, name: str, state: str, **found: Any) -> None:
        """Notes a part and writes the files."""
        self.parts[name] = {"state": state, **found}
        self.write()

    def write(self) -> None:
        """Writes report.json and report.txt."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": self.machine,
            "minutes allowed": self.minutes,
            "seconds": round(self.passed, 1),
            "parts": self.parts,
        }
        text = json.dumps(content, indent=1, default=str)
        (self.folder / "report.json").write_text(text + "\n", encoding="utf-8")
        (self.folder / "report.txt").write_text(as_text(content), encoding="utf-8")


def as_text(content: dict[str, Any]) -> str:
    """The same for people: nested values indented, numbers short."""
    lines = [f"{key}: {value}" for key, value in content["machine"].items()]
    lines.append(f"{content['seconds']:.0f} s of {content['minutes allowed']:g} min")
    for name, part in content["parts"].items():
        rest = {key: value for key, value in part.items() if key != "state"}
        lines += ["", f"{name}: {part['state']}", *_lines(rest)]
    return "\n".join(lines) + "\n"


def _lines(values: dict[str, Any], depth: int = 1) -> list[str]:
    found = []
    for key, value in values.items():
        start = f"{'  ' * depth}{key}:"
        if isinstance(value, dict):
            found += [start, *_lines(value, depth + 1)]
        elif isinstance(value, list):
            found += [f"{start} {len(value)}", *(f"{'  ' * (depth + 1)}{v}" for v in value)]
        else:
            found.append(f"{start} {f'{value:.2f}' if isinstance(value, float) else value}")
    return found
