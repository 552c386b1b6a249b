"""Which file of one set belongs to which of another: that of the same relative path, or else the
only one of its name."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from dc_model.shown import shown

from .command import EvaluationError

# What two files may have in common, from the surest on: all, all but the suffix, the bare name.
_FORMS: tuple[Callable[[PurePath], str], ...] = (
    lambda path: path.as_posix(),
    lambda path: path.with_suffix("").as_posix(),
    lambda path: path.stem,
)


class AmbiguousName(EvaluationError):  # noqa: N818 - what was found, as the message says
    """Several files could be meant; the message names them."""


class Names:
    """The relative paths of a set of files, to be found by what they share with another path."""

    def __init__(self, paths: Iterable[str]):
        self._paths = tuple(dict.fromkeys(paths))
        self._found: list[dict[str, list[str]]] = [{} for _ in _FORMS]
        for path in self._paths:
            for form, found in zip(_FORMS, self._found, strict=True):
                found.setdefault(form(PurePath(path)), []).append(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def alike(self, path: str) -> list[list[str]]:
        """For each form, surest first: those that share it with `path`."""
        pairs = zip(_FORMS, self._found, strict=True)
        return [found.get(form(PurePath(path)), []) for form, found in pairs]


def partner(path: str, own: Names, others: Names) -> str | None:
    """The one of `others` that belongs to `path` of `own`; None when none has its name.

    Raises AmbiguousName when several on either side share what decides.
    """
    for ours, theirs in zip(own.alike(path), others.alike(path), strict=True):
        if max(len(ours), len(theirs)) > 1 and theirs:
            meant = theirs if len(theirs) > 1 else ours
            raise AmbiguousName(
                f"{shown(path)} could not be paired: {', '.join(map(shown, meant[:3]))} share a "
                "name; give both sides the same folders, or each video a name of its own."
            )
        if theirs:
            return theirs[0]
    return None
