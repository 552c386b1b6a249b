"""CLIP's tokenizer, made once: every checkpoint that is loaded would make the same one again."""

from functools import lru_cache

from transformers.models.clip import CLIPTokenizer


def keep_tokenizer() -> None:
    """The host makes one with each text encoder, in a third of a second, and never changes it."""
    make = CLIPTokenizer.from_pretrained
    CLIPTokenizer.from_pretrained = lru_cache(make)  # pyright: ignore[reportAttributeAccessIssue]
