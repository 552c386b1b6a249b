"""CLIP token ids of the words that the demo model knows.

CLIP's byte-pair encoding treats each word by itself, so a table of the words is the whole tokenizer
and no merge file has to travel. `vocabulary.json` was read from CLIP's own tokenizer.
"""

import json
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from dc_model.encoders.clip import CONTEXT_LENGTH

START, END, PAD = 49406, 49407, 0


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, list[int]]:
    """Word -> token ids."""
    return json.loads(Path(__file__).with_name("vocabulary.json").read_text(encoding="utf-8"))


def known_tokens() -> list[int]:
    """Every token id that can occur."""
    ids = {i for row in vocabulary().values() for i in row}
    return [PAD, START, END, *sorted(ids)]


def tokenize(captions: list[str]) -> Tensor:
    """int64 `[B, 77]`: start, words, end, zeros; longer captions are cut.

    Raises KeyError for a word that has no entry.
    """
    table = vocabulary()
    rows = torch.full((len(captions), CONTEXT_LENGTH), PAD, dtype=torch.long)
    for row, caption in zip(rows, captions, strict=True):
        words = [i for word in caption.split() for i in table[word]]
        ids = [START, *words[: CONTEXT_LENGTH - 2], END]
        row[: len(ids)] = torch.tensor(ids)
    return rows
