"""Across the nodes: help pages and translations, as the server hands them to the page.

They are found by node id and input name: a node that is renamed or grows an input needs them, too.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from studio import Studio
from write_help import LANGUAGES, help_path, pages, refreshed

pytestmark = pytest.mark.server

# The page's translation library gives these characters a meaning of their own.
RESERVED = set("{}@|")


@pytest.fixture(scope="module")
def nodes(studio: Studio) -> dict[str, Any]:
    found = studio.server.object_info()
    return {k: v for k, v in found.items() if k.startswith("DynamiCrafter")}


@pytest.fixture(scope="module")
def translations(studio: Studio) -> dict[str, Any]:
    return studio.server.get("/i18n")


def fetch(studio: Studio, path: str) -> str:
    return studio.server._send(f"/extensions/{quote(path)}").decode()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_gets_the_help_of_every_node(
    studio: Studio, nodes: dict[str, Any], root: Path, language: str
) -> None:
    for node_id in nodes:
        path = help_path(node_id, language)
        page = fetch(studio, f"{root.name}/{path.relative_to('web').as_posix()}")
        assert page == (root / path).read_text(encoding="utf-8"), node_id


def test_help_repeats_the_sentences_of_nodes_and_translations(
    nodes: dict[str, Any], root: Path
) -> None:
    """`python3 scripts/write_help.py` mends it."""
    for path, text in pages(nodes, root).items():
        assert (root / path).read_text(encoding="utf-8") == text, path


def test_help_lists_inputs_with_defaults_outputs_and_workflows() -> None:
    tooltip = {"tooltip": "Said."}
    info = {
        "display_name": "Name",
        "description": "What it does.",
        "input": {
            "required": {
                "model": ["MODEL", tooltip],
                "cfg": ["FLOAT", {"default": 7.50, **tooltip}],
                "flag": ["BOOLEAN", {"default": False, **tooltip}],
                "negative": ["STRING", {"default": "", **tooltip}],
                "fit": [["crop", "pad"], {"default": "crop", **tooltip}],
            },
            "optional": {"image": ["IMAGE", tooltip]},
        },
        "output_name": ["latent"],
    }
    page = (
        "# Old\n\nOld.\n\nBy hand.\n\n"
        "## Inputs\n\n- old\n\n## Outputs\n\n- old\n\n## Tips\n\n- Kept.\n"
    )
    texts = {"outputs": {"0": {"tooltip": "Given."}}}
    once = refreshed(page, info, texts, ["Loop"], LANGUAGES["en"])
    assert refreshed(once, info, texts, ["Loop"], LANGUAGES["en"]) == once
    assert once == (
        "# Name\n\nWhat it does.\n\nBy hand.\n\n## Inputs\n\n"
        "- `model`: Said.\n"
        "- `cfg` (7.5): Said.\n"
        "- `flag` (false): Said.\n"
        "- `negative` (empty): Said.\n"
        "- `fit` (crop): Said.\n"
        "- `image` (optional): Said.\n"
        "\n## Outputs\n\n- `latent`: Given.\n\n## Workflows\n\n- *Loop*\n\n## Tips\n\n- Kept.\n"
    )


def test_there_is_no_help_page_without_a_node(nodes: dict[str, Any], root: Path) -> None:
    docs = root / "web" / "docs"
    found = {path.relative_to(root) for path in docs.rglob("*.md")}
    assert found == {help_path(node, language) for node in nodes for language in LANGUAGES}


def test_english_explains_every_output(nodes: dict[str, Any], translations: dict[str, Any]) -> None:
    """All other English texts stand in the nodes themselves."""
    english = translations["en"]["nodeDefs"]
    assert {k for k in english if k.startswith("DynamiCrafter")} == set(nodes)
    for node_id, info in nodes.items():
        assert list(english[node_id]) == ["outputs"]
        tooltips = english[node_id]["outputs"]
        assert list(tooltips) == [str(i) for i in range(len(info["output"]))], node_id
        assert all(slot["tooltip"] for slot in tooltips.values())


def test_translations_cover_our_wire_types(
    nodes: dict[str, Any], translations: dict[str, Any]
) -> None:
    kinds = {kind for info in nodes.values() for kind in info["output"] if kind.startswith("DC_")}
    assert set(translations["zh"]["dataTypes"]) == kinds


def test_texts_keep_clear_of_the_characters_that_the_page_interprets(
    nodes: dict[str, Any], translations: dict[str, Any]
) -> None:
    texts = [
        text
        for language in translations.values()
        for node_id in nodes
        for text in leaves(language["nodeDefs"][node_id])
    ]
    for info in nodes.values():
        texts += [info["display_name"], info["description"]]
    assert [text for text in texts if RESERVED & set(text)] == []


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for child in value.values() for text in leaves(child)]
    return [value]
