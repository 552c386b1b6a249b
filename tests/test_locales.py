"""Across the languages: each says what the nodes say, with the same numbers and names.

The English sentences stand in the nodes, those of outputs in locales/en. Every other language has
a name and a sentence for each input and each output.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import import_pack

ROOT = Path(__file__).resolve().parents[1]
Texts = dict[tuple[str, ...], str]
LANGUAGES = ("es", "fr", "ja", "ko", "ru", "zh", "zh-TW")
NUMBER = re.compile(r"(?:(?<![A-Za-z0-9])-)?[0-9]+(?:\.[0-9]+)?")
# Ids and values with an underscore, and quoted ids: what a person must find on the page.
NAME = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+|`\w+`", re.ASCII)
# The page's translation library gives these characters a meaning of their own.
RESERVED = set("{}@|")
# A letter that English lacks, in nearly every sentence of these languages.
OWN_LETTERS = {
    "ja": r"[\u3040-\u30ff]",
    "ko": r"[\uac00-\ud7af]",
    "ru": r"[\u0400-\u04ff]",
    "zh": r"[\u4e00-\u9fff]",
    "zh-TW": r"[\u4e00-\u9fff]",
}


def read(language: str, name: str) -> dict[str, Any]:
    path = ROOT / "locales" / language / name
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def english() -> Texts:
    """The English sentence of each place of a translation."""
    if not import_pack():
        pytest.skip("COMFYUI_PATH is not set: the nodes' own sentences need a ComfyUI")
    from pack import nodes

    nodes.video_distance.register_folder()
    sentences = {}
    for node in (node for stage in nodes.STAGES for node in stage.NODES):
        schema = node.define_schema()
        sentences[schema.node_id, "description"] = schema.description
        for entry in schema.inputs:
            sentences[schema.node_id, "inputs", entry.id, "tooltip"] = entry.tooltip
    return sentences | dict(leaves(read("en", "nodeDefs.json")))


def leaves(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text of a translation, by its path."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, child in value.items():
        yield from leaves(child, *path, key)


def places(english: Texts) -> set[tuple[str, ...]]:
    """Where a complete translation has a text."""
    named = {(*path[:-1], "name") for path in english if path[-1] == "tooltip"}
    return set(english) | named | {(path[0], "display_name") for path in english}


def test_every_language_is_checked() -> None:
    found = {path.name for path in (ROOT / "locales").iterdir()}
    assert found == {"en", *LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_missing_and_nothing_extra(english: Texts, language: str) -> None:
    texts = dict(leaves(read(language, "nodeDefs.json")))
    assert places(english) - set(texts) == set(), "missing"
    assert set(texts) - places(english) == set(), "extra"
    assert [path for path, text in texts.items() if not text.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_categories_and_types_are_those_of_the_other_languages(language: str) -> None:
    def paths(code: str) -> set[tuple[str, ...]]:
        return {path for path, _ in leaves(read(code, "main.json"))}

    assert paths(language) == paths("zh")
    assert paths("en") <= paths("zh")


@pytest.mark.parametrize("pattern", [NUMBER, NAME], ids=["numbers", "names"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_have_the_numbers_and_names_of_the_english_ones(
    english: Texts, language: str, pattern: re.Pattern[str]
) -> None:
    texts = dict(leaves(read(language, "nodeDefs.json")))
    different = {
        path: (pattern.findall(sentence), pattern.findall(texts[path]))
        for path, sentence in english.items()
        if Counter(pattern.findall(sentence)) != Counter(pattern.findall(texts[path]))
    }
    assert different == {}


@pytest.mark.parametrize("language", OWN_LETTERS)
def test_sentences_are_in_their_language(english: Texts, language: str) -> None:
    texts = dict(leaves(read(language, "nodeDefs.json")))
    own = re.compile(OWN_LETTERS[language])
    assert [texts[path] for path in english if not own.search(texts[path])] == []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_texts_keep_clear_of_reserved_characters(language: str) -> None:
    texts = [
        text for file in ("nodeDefs", "main") for _, text in leaves(read(language, f"{file}.json"))
    ]
    assert [text for text in texts if RESERVED & set(text)] == []


def test_repeated_sentences_are_repeated(english: Texts) -> None:
    """Where English repeats a sentence of an input, so does every language."""
    for language in LANGUAGES:
        texts = dict(leaves(read(language, "nodeDefs.json")))
        said: dict[tuple[str, str], set[str]] = {}
        for path, sentence in english.items():
            if path[1] == "inputs":
                said.setdefault((path[2], sentence), set()).add(texts[path])
        assert {k: v for k, v in said.items() if len(v) > 1} == {}, language


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_told_apart(language: str) -> None:
    """Nodes among each other; the inputs and the outputs of one node."""
    nodes = read(language, "nodeDefs.json")
    groups = [[node["display_name"] for node in nodes.values()]]
    for node in nodes.values():
        groups += [[slot["name"] for slot in node[kind].values()] for kind in ("inputs", "outputs")]
    twice = [name for names in groups for name, count in Counter(names).items() if count > 1]
    assert twice == []


@pytest.mark.parametrize("page", sorted((ROOT / "web" / "docs").glob("*.md")), ids=lambda p: p.stem)
def test_help_pages_have_the_same_numbers(page: Path) -> None:
    expected = Counter(NUMBER.findall(page.read_text(encoding="utf-8")))
    for translation in page.with_suffix("").glob("*.md"):
        found = Counter(NUMBER.findall(translation.read_text(encoding="utf-8")))
        assert found == expected, translation.name
