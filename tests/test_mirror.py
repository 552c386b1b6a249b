"""Across the tests: each file has the module of its name, or its first line says what it spans."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
# Tests of the nodes on the real server.
MIRRORS = {"server": "nodes"}
SPANS = re.compile(r"Across [^:]+: .")

FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


def names(test_file: str) -> Iterator[str]:
    """`test_decode_memory.py` is about `decode_memory`, or about the memory of `decode`."""
    words = Path(test_file).stem.split("_")[1:]
    for count in range(len(words), 0, -1):
        yield "_".join(words[:count])


def has_module(test_file: str) -> bool:
    """Whether a module or a folder of the name lies in the folder that is mirrored."""
    top, *rest = Path(test_file).parent.parts or ("",)
    folder = ROOT.joinpath(MIRRORS.get(top, top), *rest)
    if not top or not folder.is_dir():
        return False
    code = {p.stem for p in folder.rglob("*.py")} | {p.parent.name for p in folder.rglob("*.py")}
    return any(name in code for name in names(test_file))


def says_what_it_spans(test_file: str) -> bool:
    first, _, _ = (
        ast.get_docstring(ast.parse((TESTS / test_file).read_text("utf-8"))) or ""
    ).partition("\n")
    return SPANS.match(first) is not None


@pytest.mark.parametrize("test_file", FILES)
def test_a_test_is_found_by_its_module(test_file: str) -> None:
    assert has_module(test_file) or says_what_it_spans(test_file), (
        "name it after its module, or begin its first line with `Across WHAT: `"
    )


def test_modules_are_recognised() -> None:
    assert has_module("nodes/test_decode.py")
    assert has_module("server/test_decode_memory.py")
    assert has_module("dc_model/checkpoint/test_detect.py")
    assert not has_module("nodes/test_moon.py")
    assert not has_module("test_nodes.py")
