"""Types of command line options: what is impossible is refused before anything runs."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dc_model.device import DeviceError, usable_device
from dc_model.shown import shown


def option(kind: Any) -> Callable[[str], Any]:
    """What reads a word as `kind`, a type of settings such as `training.config.Count`.

    It raises argparse's own error, which names the option.
    """
    reader = TypeAdapter(kind, config={"allow_inf_nan": False})

    def read(word: str) -> Any:
        try:
            return reader.validate_strings(word)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise ArgumentTypeError(
                f"it is '{shown(word)}'; give a value that is {reason}."
            ) from None

    return read


def device(word: str) -> str:
    """The name of a device that this PyTorch computes on; argparse's own error for another."""
    try:
        return str(usable_device(word))
    except DeviceError as error:
        raise ArgumentTypeError(str(error)) from None
