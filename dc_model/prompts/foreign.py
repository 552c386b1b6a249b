"""Prompt notations of other programs that nothing here computes: they would pass as words."""

import re
from typing import NamedTuple

from ..shown import shown


class _Notation(NamedTuple):
    pattern: str
    meaning: str
    remedy: str


_NEGATIVE = (
    "begins a negative prompt",
    "put what follows it into the CLIP Text Encode of the negative",
)
# Lengths are bounded, so a text of any length is searched in linear time.
_NOTATIONS = [
    _Notation(r"(?<!\S)--(?:neg|negative|no)\b", *_NEGATIVE),
    _Notation(r"^\s{0,9}neg(?:ative)?[ _]?(?:prompt)?\s?[:=]", *_NEGATIVE),
    _Notation(
        r"(?<!\S)--[a-z]\w{0,40}",
        "is an option of another program",
        "remove it, and set the value in the node that has it",
    ),
    _Notation(
        r"(?<![^\W_])`[^`\n]{1,200}`(?![^\W_])",
        "is an expression of another pack",
        "write its value, in an entry for each frame where it changes",
    ),
    _Notation(
        r"\b(?:max_f|pw_[a-d])\b",
        "is a variable of another pack",
        "write its value, and frames as whole numbers (-1 is the last)",
    ),
    _Notation(
        r"<\s?(?:lora|lyco|hypernet)\s?:[^<>\n]{0,200}>",
        "loads nothing here",
        "remove it and put LoraLoaderModelOnly after the checkpoint loader",
    ),
    _Notation(
        r"\{[^{}|\n]{0,200}\|[^{}\n]{0,200}\}",
        "is a choice that nothing makes here",
        "write one of its words",
    ),
    _Notation(
        r"(?<!\w)__[^\W_][\w*/-]{0,80}?__(?!\w)",
        "is a wildcard, whose list is not read here",
        "write words in its place",
    ),
    _Notation(
        r"\[[^\[\]:\n]{0,200}:[^\[\]:\n]{0,200}:\s?\d{0,9}\.?\d{1,9}\s?\]",
        "changes words at a sampling step, which nothing does here",
        "write an entry for the frame where they change",
    ),
]


def refuse_other_notations(prompt: str) -> None:
    """ValueError that names a notation of another program in `prompt`, and its remedy."""
    for notation in _NOTATIONS:
        if found := re.search(notation.pattern, prompt, re.IGNORECASE | re.MULTILINE):
            raise ValueError(
                f"'{shown(found[0].strip(), 60)}' in a prompt {notation.meaning}; "
                f"{notation.remedy}."
            )
