"""CLIP's tokenizer by `transformers`, padded as open_clip pads: with 0, not with the end token.

Its vocabulary comes with neither this package nor `transformers`; ComfyUI has it in the folder
`comfy/sd1_tokenizer`. Source: docs/method.md#context-stream.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..shown import shown
from .clip import CONTEXT_LENGTH

# Captions to token ids, int64 `[B, 77]`.
Tokenize = Callable[[list[str]], Tensor]


def clip_tokenizer(folder: str | Path) -> Tokenize:
    """The tokenizer of a folder with `vocab.json` and `merges.txt`; longer captions are cut.

    Raises FileNotFoundError when the folder holds no vocabulary, ImportError without transformers.
    """
    if not (Path(folder) / "vocab.json").is_file():
        raise FileNotFoundError(
            f"{shown(str(folder))} holds no vocab.json; give ComfyUI's folder comfy/sd1_tokenizer."
        )
    try:
        from transformers.models.clip import CLIPTokenizer
    except ImportError as error:
        raise ImportError(
            f"The captions' tokenizer is transformers', which cannot be imported ({shown(error)}); "
            "repair it with `python -m pip install transformers`, then start again."
        ) from error

    tokenizer = CLIPTokenizer.from_pretrained(folder)

    def tokenize(captions: list[str]) -> Tensor:
        rows = torch.zeros(len(captions), CONTEXT_LENGTH, dtype=torch.long)
        for row, caption in zip(rows, captions, strict=True):
            ids = tokenizer(caption, truncation=True, max_length=CONTEXT_LENGTH)["input_ids"]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    return tokenize
