"""How people write prompts for the parts of a video: the lines of a prompt schedule.

An entry is `frame: prompt` or `frame = prompt`. Both sides may be quoted; entries with quoted
prompts may share a line, as in a JSON object, with or without its braces. Comments (`# …`, `// …`,
`/* … */`) and commas at a line's end are skipped.
"""

import json
import re
from typing import NamedTuple

from ..shown import shown

# Patterns are strings, which `re` compiles at their first use: not while ComfyUI starts.
_QUOTE = "[\"'`\u2018\u2019\u201c\u201d]"
# Nine digits are enough for any video. A digit right after the colon makes a ratio or a time of
# day, and a second sign is another language's arrow.
_SIGN = r"\s*(?:[:\uff1a](?!\d)|[=\uff1d])(?![:=>])\s*"
_ENTRY = rf"({_QUOTE}?)([-+]?\d{{1,9}}){_QUOTE}?{_SIGN}"
_SECOND_ENTRY = rf"[,;|]\s*{_ENTRY}"
_QUOTED = (
    r'"((?:[^"\\]|\\.)*)"'
    "|'((?:[^'\\\\]|\\\\.)*)'|\u201c([^\u201d]*)\u201d|\u2018([^\u2018]*)\u2019"
)
_OPENED = rf"{_QUOTE}|[\[{{]\s*{_QUOTE}"
_AFTER_QUOTED = rf"\s*(?:[,;]\s*)?(?:$|#|//|(?={_ENTRY}))"
_AFTER_OBJECT = r"[,;]?\s*(?:$|#|//)"
_END_COMMENT = r"\s(?:#|//)\s.*"

# What begins like an entry: a number before a sign, a bracket, a bar or a quote; a range before a
# sign; the word frame before a number; zero; another key in quotes.
_OPENING = r"[\s(\[{<*\u2022@\"'`\u2018\u201c-]*"
_NUMBER = r"[-+]? ?\d+(?:[.,]\d+)*"
_NUMBERED = (
    rf"(?i:{_OPENING}(?:(?:key)?frames?[ _]?#?\d|f ?\d+ ?[:=]|0 |{_NUMBER}(?:"
    rf" ?(?:%|s|f|sec|frames)?(?: ?(?:[-~\u2013]|to) ?\d+)? ?{_QUOTE}? ?[:=\uff1a\uff1d]"
    rf"| ?(?:[\]}}>|;\u2192]|->|$)|{_QUOTE}))"
    rf"|{_QUOTE}[^\"]{{1,40}}{_QUOTE} ?[:=] ?{_QUOTE})"
)
# Signs that also follow years and other words: they count only after a frame of the video.
_LISTED = rf"{_OPENING}(\d{{1,9}})(?:[,.)](?: |$)| [-\u2013\u2014] )"


class Entry(NamedTuple):
    """A prompt and the frame written before it, negative as it may stand; None where none is."""

    frame: int | None
    prompt: str


def read_entries(text: str, num_frames: int) -> list[Entry]:
    """The entries of a prompt schedule for a video of `num_frames`, in order.

    Raises ValueError for a line that begins like a numbered one but cannot be read as such.
    """
    text = text.encode("utf-8", "replace").decode().lstrip("\ufeff")
    lines = [line.strip() for line in _without_blocks(text).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    return [entry for line in _without_braces(lines) for entry in _read_line(line, num_frames)]


def _without_blocks(text: str) -> str:
    """`text` without `/* … */`; one without an end stays."""
    kept, start = [], 0
    while (opened := text.find("/*", start)) >= 0:
        closed = text.find("*/", opened + 2)
        if closed < 0:
            break
        kept.append(text[start:opened])
        start = closed + 2
    return " ".join([*kept, text[start:]])


def _without_braces(lines: list[str]) -> list[str]:
    """The lines inside a JSON object's braces; others as they are."""
    body = "\n".join(lines)
    inside, brace, tail = body[1:].rpartition("}")
    if not (body.startswith("{") and brace and re.match(_AFTER_OBJECT, tail.strip())):
        return lines
    if not re.match(_ENTRY, inside.lstrip()):
        return lines
    return [line.strip() for line in inside.splitlines() if line.strip()]


def _match(pattern: str, line: str, start: int) -> re.Match[str] | None:
    return re.compile(pattern).match(line, start)


def _read_line(line: str, num_frames: int) -> list[Entry]:
    entries: list[Entry] = []
    start = 0
    while start < len(line):
        key = _match(_ENTRY, line, start)
        if key is None:
            _refuse_numbered(line, num_frames)
            return [Entry(None, re.sub(_END_COMMENT, "", line))]
        frame = int(key[2])
        quoted = _match(_QUOTED, line, key.end())
        after = quoted and _match(_AFTER_QUOTED, line, quoted.end())
        if not (quoted and after):
            opened = key[1] and _match(_OPENED, line, key.end())
            return [*entries, Entry(frame, _plain(line, key.end(), bool(entries or opened)))]
        entries.append(Entry(frame, _unquoted(quoted)))
        start = len(line) if after[0].endswith(("#", "//")) else after.end()
    return entries


def _plain(line: str, start: int, among_quoted: bool) -> str:
    """The prompt without quotes that begins at `start` and ends with the line."""
    prompt = re.sub(_END_COMMENT, "", line[start:]).rstrip().removesuffix(",")
    if among_quoted or re.search(_SECOND_ENTRY, prompt):
        raise ValueError(
            f"The line {_named(line)} of the prompt schedule is not understood from "
            f"{_named(line[start:])} on; close its quotes, or write each `frame: prompt` on a line "
            "of its own."
        )
    return prompt


def _unquoted(match: re.Match[str]) -> str:
    """What stands between quotes, JSON's escapes resolved; ComfyUI's own (`\\(`) stay."""
    prompt = next(group for group in match.groups() if group is not None)
    try:
        prompt = str(json.loads(f'"{prompt}"', strict=False))
    except ValueError:
        prompt = re.sub(r"\\([\"'])", r"\1", prompt)
    return prompt.encode("utf-8", "replace").decode().strip()


def _refuse_numbered(line: str, num_frames: int) -> None:
    """ValueError for words that look like an entry of a form that is not known."""
    start = " ".join(line[:200].split())
    listed = re.match(_LISTED, start)
    if re.match(_NUMBERED, start) or (listed and int(listed[1]) < num_frames):
        raise ValueError(
            f"The line {_named(line)} of the prompt schedule looks numbered, but is not "
            "understood; write `frame: prompt` with a whole number and a space after the colon, or "
            "begin the line with a word."
        )


def _named(line: str) -> str:
    return f"'{shown(line, 60)}'"
