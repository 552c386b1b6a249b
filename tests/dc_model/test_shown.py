"""Foreign text comes out printable, on one line and short, whatever it is."""

from typing import Any

import pytest

from dc_model.shown import MAX_SHOWN, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.ckpt", "model.ckpt"),
        ("größer 模型 🙂", "größer 模型 🙂"),
        ("\ud800", "\\ud800"),
        ("caf\udce9.ckpt", "caf\\udce9.ckpt"),  # a name in Latin-1, as the system's calls give it
        ("a\nERROR: all is lost", "a\\nERROR: all is lost"),
        ("a\rb\x1b[31m\x00\x7f", "a\\rb\\x1b[31m\\x00\\x7f"),
        ("\u202egnp.exe\u2028", "\\u202egnp.exe\\u2028"),
        (7.5, "7.5"),
        (None, "None"),
        (("a", 1), "('a', 1)"),
        (b"\xff", "b'\\xff'"),
    ],
)
def test_text_is_printable(text: Any, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize("character", ["x", "\x00", "\ud800", "\U000e0001"])
def test_text_is_short(character: str) -> None:
    found = shown(character * 1_000_000)
    assert len(found) == MAX_SHOWN + 3
    assert found.endswith("...")
    assert found.encode("utf-8")


def test_text_that_just_fits_is_whole() -> None:
    assert shown("x" * MAX_SHOWN) == "x" * MAX_SHOWN
    assert shown("x" * 10, 5) == "xxxxx..."


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [(10**5000, "a int"), (nested(100_000), "a list")],
    ids=["number", "list"],
)
def test_values_without_a_text_are_named_by_their_type(value: Any, expected: str) -> None:
    assert shown(value) == expected
