"""What the kinds of systems have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from dc_model.shown import shown
from training.config import Section

from ..command import EvaluationError
from ..items import Item

# A clip `[T, 3, H, W]` in [-1, 1] for an item. Raises ItemError where this clip cannot be made.
Maker = Callable[[Item], Tensor]

# It names a folder, too.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]


class SystemStopped(EvaluationError):  # noqa: N818 - what happened, as the message says
    """The system makes no further clips; the others can."""


class SystemSection(Section):
    """name: its row of the table and its folder."""

    name: Name

    def settings(self) -> dict[str, Any]:
        """What decides its clips: the section, with the sizes of the files that it names."""
        values = self.model_dump(mode="json")
        files = {k: Path(v) for k, v in values.items() if isinstance(v, str) and v}
        sizes = {f"{k} bytes": p.stat().st_size for k, p in files.items() if p.is_file()}
        return {**values, **sizes}


def require_file(path: str, key: str) -> Path:
    """Raises SystemStopped, naming the key, where there is no such file."""
    if not Path(path).is_file():
        raise SystemStopped(f"{shown(key)} is '{shown(path)}', which is not a file; give its path.")
    return Path(path)
