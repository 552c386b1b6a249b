"""What the commands have in common: sharing work, printing, and errors of one sentence."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from dc_model.shown import shown

T = TypeVar("T")


class EvaluationError(ValueError):
    """A setting or a file that cannot work; the message says what to do."""


def take_part(items: Sequence[T], part: str | None) -> Sequence[T]:
    """All items, or every N-th from the I-th on for the part "I/N"; raises EvaluationError."""
    if part is None:
        return items
    try:
        index, count = (int(x) for x in part.split("/"))
    except ValueError:
        raise EvaluationError(f"--part is '{shown(part)}'; write I/N, for example 0/4.") from None
    if not 0 <= index < count:
        raise EvaluationError(f"--part is '{shown(part)}'; choose I from 0 to N - 1.")
    return items[index::count]


def show(result: object) -> None:
    """A result, on the standard output."""
    sys.stdout.write(f"{result}\n")
    sys.stdout.flush()


def run(command: Callable[[], None]) -> None:
    """Run a command; what is wrong with its input ends it with a sentence, not with a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        command()
    except torch.OutOfMemoryError as error:
        raise SystemExit(f"The device's memory is full ({shown(error)}); free some.") from error
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(str(error)) from error
