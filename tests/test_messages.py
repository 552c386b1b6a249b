"""Across the errors: each says what to do, and foreign text is shown through `shown`."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from remedies import REMEDY

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("nodes", "dc_model", "evaluation", "training")
# What a function of tensors expects is the remedy for who calls it.
EXPECTATION = re.compile(r"\b(expected|needs?|more than|numbered|has shape)\b")
# Pieces that are remedies by themselves.
REMEDY_PIECES = re.compile(r"remed|advice|again|source|same|cause|REMEDIES|error|choices", re.I)
# Messages that are a part of a sentence, whose remedy stands where the sentence is made.
QUOTED = re.compile(r"dc_model/checkpoint/(pickles|torch_file|detect)|training/(data/video|yaml12)")
# Sentences that were made elsewhere.
PASSED_ON = (
    "found",
    "str(error)",
    "_reason(error)",
    "loaded.fault",
    r"'\n'.join(dict.fromkeys(faults))",
)
# Programming errors, which no user of the nodes meets.
INTERNAL = {"AssertionError", "NotImplementedError", "StopIteration", "RuntimeError", "TypeError"}
# What holds text from outside: names of files and keys, what a file says, what a person typed.
FOREIGN = re.compile(
    r"^(path|file|file_name|key|keys|line|text|value|prompt|choice|variant|dtype|extra|"
    r"method|fit|spacing|ending|name_of_file|record\.filename|control_net_name|"
    r".*\.name|.*_name|unexpected\[.*|some\(.*|.*(url|folder|path|directory))$"
)
# Names that the project itself gave.
OWN = re.compile(r"^(family|fork|type\(.*\)|record|source|self|arm|stage|kind|dataset)\b")


class Message(NamedTuple):
    """One message of the source: where, of which class or log, its pieces."""

    place: str
    kind: str
    node: ast.expr

    @property
    def literal(self) -> str:
        return " ".join(
            str(n.value)
            for n in ast.walk(self.node)
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        )

    @property
    def pieces(self) -> list[ast.FormattedValue]:
        return [n for n in ast.walk(self.node) if isinstance(n, ast.FormattedValue)]


@cache
def messages() -> tuple[Message, ...]:
    """All of the source."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(found for path in files for found in messages_of(path))


def messages_of(path: Path) -> Iterator[Message]:
    name = path.relative_to(ROOT)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            kind = ast.unparse(node.exc.func).split(".")[-1]
            if node.exc.args and kind not in INTERNAL:
                yield Message(f"{name}:{node.lineno}", kind, node.exc.args[0])
        elif isinstance(node, ast.Call) and "logger." in ast.unparse(node.func):
            yield Message(f"{name}:{node.lineno}", "log", node.args[0])


def is_foreign(piece: ast.FormattedValue) -> bool:
    """Whether a piece shows text from outside as it is."""
    source = ast.unparse(piece.value)
    if source.startswith(("shown(", "brief(", "last_line(", "some(")):
        return False
    return piece.conversion == ord("r") or bool(FOREIGN.match(source) and not OWN.match(source))


def test_there_are_messages() -> None:
    assert len(messages()) > 100


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_from_outside_is_shown(folder: str) -> None:
    bare = [
        f"{m.place}: {ast.unparse(piece.value)}"
        for m in messages()
        if m.place.startswith(folder)
        for piece in m.pieces
        if is_foreign(piece)
    ]
    assert bare == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_error_says_what_to_do(folder: str) -> None:
    bare = [
        f"{m.place}: {m.literal}"
        for m in messages()
        if m.place.startswith(folder) and m.kind != "log" and not QUOTED.match(m.place)
        if not REMEDY.search(m.literal)
        and not (m.kind == "ValueError" and EXPECTATION.search(m.literal))
        and not any(REMEDY_PIECES.search(ast.unparse(p.value)) for p in m.pieces)
        # Passed on from where it was said.
        and ast.unparse(m.node) not in PASSED_ON
    ]
    assert bare == []
