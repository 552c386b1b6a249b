"""Help pages and translations, as the server hands them to the page.

They are found by node id and input name: a node that is renamed or grows an input needs them, too.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from studio import Studio

pytestmark = pytest.mark.server

LANGUAGES = {"en": ("Inputs", "Outputs"), "zh": ("输入", "输出")}
# The page's translation library gives these characters a meaning of their own.
RESERVED = set("{}@|")


@pytest.fixture(scope="module")
def nodes(studio: Studio) -> dict[str, Any]:
    found = studio.server.object_info()
    return {k: v for k, v in found.items() if k.startswith("DynamiCrafter")}


@pytest.fixture(scope="module")
def translations(studio: Studio) -> dict[str, Any]:
    return studio.server.get("/i18n")


def input_names(info: dict[str, Any]) -> list[str]:
    return [name for group in ("required", "optional") for name in info["input"].get(group, {})]


def help_path(node_id: str, language: str) -> str:
    """Where the page looks for a node's help, below the pack's web folder."""
    return f"docs/{node_id}.md" if language == "en" else f"docs/{node_id}/{language}.md"


def explained(page: str, title: str) -> dict[str, tuple[str, str]]:
    """The list under `## title`, lines like "- `name` (default): text": name to the other two.

    A list, since the page's help panel is too narrow for a table.
    """
    section = page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    line = re.compile(r"- `(\w+)`(?: ?[(\uff08](.*?)[)\uff09])?[:\uff1a] ?(.+)")
    return {m[1]: (m[2] or "", m[3]) for m in map(line.fullmatch, section.splitlines()) if m}


def fetch(studio: Studio, path: str) -> str:
    return studio.server._send(f"/extensions/{quote(path)}").decode()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_has_a_help_page_that_names_its_inputs_and_outputs(
    studio: Studio, nodes: dict[str, Any], root: Path, language: str
) -> None:
    inputs_title, outputs_title = LANGUAGES[language]
    for node_id, info in nodes.items():
        page = fetch(studio, f"{root.name}/{help_path(node_id, language)}")
        assert page.startswith("# ")
        assert list(explained(page, inputs_title)) == input_names(info), node_id
        assert list(explained(page, outputs_title)) == info["output_name"], node_id


def test_help_pages_state_the_defaults_of_numbers(
    studio: Studio, nodes: dict[str, Any], root: Path
) -> None:
    for node_id, info in nodes.items():
        page = (root / "web" / help_path(node_id, "en")).read_text(encoding="utf-8")
        inputs = explained(page, "Inputs")
        for name, spec in info["input"].get("required", {}).items():
            if spec[0] in ("INT", "FLOAT"):
                assert float(inputs[name][0]) == spec[1]["default"], (node_id, name)


def test_there_is_no_help_page_without_a_node(nodes: dict[str, Any], root: Path) -> None:
    docs = root / "web" / "docs"
    pages = {path.relative_to(docs.parent).as_posix() for path in docs.rglob("*.md")}
    assert pages == {help_path(node, language) for node in nodes for language in LANGUAGES}


def test_chinese_covers_every_node_input_and_output(
    nodes: dict[str, Any], translations: dict[str, Any]
) -> None:
    chinese = translations["zh"]["nodeDefs"]
    assert {k for k in chinese if k.startswith("DynamiCrafter")} == set(nodes)
    for node_id, info in nodes.items():
        texts = chinese[node_id]
        assert texts["display_name"] and texts["description"]
        assert list(texts["inputs"]) == input_names(info), node_id
        assert list(texts["outputs"]) == [str(i) for i in range(len(info["output"]))], node_id
        tooltips = [
            slot["tooltip"] for kind in ("inputs", "outputs") for slot in texts[kind].values()
        ]
        assert all(re.search(r"[\u4e00-\u9fff]", text) for text in tooltips), node_id


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
