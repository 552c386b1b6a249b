"""Across all texts: direct words, short sentences.

This is about texts, so no module has its name.
"""

import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Words of a translation, and what a native speaker says.
FOREIGN = {
    r"(?<![Tt]here )\b(?:is|are|was) no(?! longer)\b": "is not a",
    r"\bgo(?:es)? on\b|\bgoing on\b|\bwent on\b": "continues",
    r"\btells\b|\btelling\b": "says, states, shows",
    r", so that\b": ", so",
    r"\breckon": "counts, estimates, expects",
    r"\banew\b": "again",
    r"\bunlike length": "of different lengths",
    r"\bbehind (?:it|them|this|Visual|the (?!object|host|scene|decoder's)\w+)\b": "after",
}
# Where these words are right: (end of the path, a piece of the line).
RIGHT = [
    ("scripts/draw_examples.py", "the sun low behind it"),
]
# Pages of short sentences: the mean of words in a sentence, code and tables left out.
PAGES = [
    str(path.relative_to(ROOT))
    for folder in (".", "docs", "web/docs")
    for path in sorted((ROOT / folder).glob("*.md"))
]
MEAN_WORDS = 17


def files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [p for p in paths if p.is_file() and p != Path(__file__)]


def said(path: Path) -> list[tuple[int, str]]:
    """Lines of what a person reads: a page, or the comments and texts of a module."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return list(enumerate(text.splitlines(), start=1))
    lines = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            pieces = token.string.splitlines()
            lines += [(token.start[0] + i, piece) for i, piece in enumerate(pieces)]
    return lines


def is_right(path: Path, line: str) -> bool:
    return any(str(path).endswith(end) and piece in line for end, piece in RIGHT)


def test_texts_use_direct_words() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]} -> {better}"
        for path in files()
        for number, line in said(path)
        for word, better in FOREIGN.items()
        if re.search(word, line) and not is_right(path, line)
    ]
    assert found == []


def sentences(page: str) -> list[str]:
    """Sentences and list entries of a page, without code, tables and headings."""
    text = re.sub(r"(?ms)^```.*?^```|^\|.*?$|^#.*?$|^<.*?$", "", page)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    blocks = re.split(r"\n\s*\n|\n(?=[-\d])", text)
    parts = [part for block in blocks for part in re.split(r"(?<=[.!?])\s+", block)]
    return [part for part in parts if re.search(r"\w", part)]


@pytest.mark.parametrize("name", PAGES)
def test_sentences_are_short(name: str) -> None:
    lengths = [len(s.split()) for s in sentences((ROOT / name).read_text(encoding="utf-8"))]
    assert sum(lengths) / len(lengths) < MEAN_WORDS


def test_a_foreign_word_is_found() -> None:
    for line in ("it is no file", "the run goes on", "it tells the size", "a, so that b"):
        assert any(re.search(word, line) for word in FOREIGN), line
