"""The file that describes a comparison: one protocol, and the systems to be measured by it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from dc_model.shown import shown
from training.config import Section, config_json
from training.yaml12 import read_yaml

from .command import EvaluationError
from .protocol import Protocol, with_preset
from .systems import System


class Comparison(Section):
    """title: the report's heading. strips: clips whose frames the report shows."""

    title: str = "Comparison"
    protocol: Protocol
    systems: Annotated[list[System], Field(min_length=1)]
    strips: Annotated[int, Field(ge=0)] = 4

    @model_validator(mode="after")
    def _one_folder_each(self) -> "Comparison":
        names = [system.name.lower() for system in self.systems]
        twice = sorted({name for name in names if names.count(name) > 1 or name == "true"})
        if twice:
            raise ValueError(
                f"two systems, or the true clips, are called {', '.join(twice)}; give each a name "
                "of its own"
            )
        return self


def load_comparison(path: Path) -> Comparison:
    """Read a YAML or JSON file. Raises EvaluationError with a line for each fault."""
    try:
        loaded = read_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise EvaluationError(f"{shown(path)} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise EvaluationError(f"{shown(path)} is not YAML: {shown(error)}.") from error
    if not isinstance(loaded, dict):
        raise EvaluationError(
            f"{shown(path)} holds no mapping; write it like the example in docs/evaluation.md."
        )
    return read_comparison(loaded)


def read_comparison(values: Mapping[str, Any]) -> Comparison:
    """The checked comparison. Raises EvaluationError with a line for each fault."""
    try:
        if isinstance(values.get("protocol"), dict):
            values = {**values, "protocol": with_preset(values["protocol"])}
        # As JSON, a list serves for a tuple, and nothing else is bent.
        return Comparison.model_validate_json(config_json(values))
    except ValidationError as error:
        faults = [_sentence(fault) for fault in error.errors(include_url=False)]
        raise EvaluationError("\n".join(dict.fromkeys(faults))) from None
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _sentence(fault: Any) -> str:
    # In `systems.0.checkpoint.steps` the third is the union's tag, which the file does not have.
    parts = [str(p) for i, p in enumerate(fault["loc"]) if i != 2 or fault["loc"][0] != "systems"]
    place = ".".join(parts) or "The file"
    reason = fault["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if fault["type"] == "extra_forbidden":
        return f"{shown(place)} is not a setting; docs/evaluation.md lists them."
    if fault["type"] == "missing":
        return f"{shown(place)} is missing; docs/evaluation.md has an example."
    return f"{shown(place)} is {shown(repr(fault['input']))}; {reason}."
