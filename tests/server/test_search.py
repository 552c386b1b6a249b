"""Across the nodes: what the page's node search finds for the words that people type.

The order is that of the page's own rule, for the pack's nodes and boxes: how a name matches decides
first, then where and how long it is; an alias alone comes last. The real page is asked in
tests/page/test_page.py.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from search_words import ID, PLACES, WANTED
from studio import Studio

pytestmark = pytest.mark.server

BARE = {"ddim", "scheduler", "keyframe", "shot", "video decode", "color match", "storyboard"}
Score = tuple[float, ...]


@pytest.fixture(scope="module")
def entries(studio: Studio, root: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Id to the names and the aliases that the page searches."""
    info = studio.server.object_info()
    found = {
        key: ([key, node["display_name"]], node.get("search_aliases") or [])
        for key, node in info.items()
        if key.startswith(ID)
    }
    for path in (root / "subgraphs").glob("*.json"):
        found[path.stem] = ([f"SubgraphBlueprint.{path.stem}", path.stem], [])
    return found


def words(name: str) -> list[str]:
    parts = re.split(r" |\b|(?<=[a-z])(?=[A-Z])|(?=[A-Z][a-z])", name)
    return [part.lower() for part in parts]


def score(typed: str, name: str) -> Score:
    """How well a name fits; smaller is better, 9 first: not at all."""
    low, parts, query = name.lower(), words(name), typed.split(" ")
    length = float(len(low))
    if low == typed:
        return (0, 0, 0)
    if low.startswith(typed):
        return (1, 0, length)
    place = low.find(typed) + length / 2
    if typed in parts:
        return (2, place, length)
    if typed in low:
        return (3, place, length)
    if all(word in parts for word in query):
        at = [parts.index(word) for word in query]
        return (4, max(at) - min(at) + max(at) / 2 + length / 2, length)
    if all(word in low for word in query):
        start = min(low.index(word) for word in query)
        end = max(low.index(word) + len(word) for word in query)
        return (5, end - start + start / 2 + length / 2, length)
    return (9, 0, 0)


def ranked(typed: str, entries: dict[str, tuple[list[str], list[str]]]) -> list[str]:
    found = []
    for key, (names, aliases) in entries.items():
        best = min(score(typed, name) for name in names)
        by_alias = [alias for alias in aliases if typed in alias]
        if best[0] < 9 or by_alias:
            exact = 0.0 if typed in aliases else 1.0
            found.append(((*best, exact), key))
    return [key for _, key in sorted(found)]


@pytest.mark.parametrize("typed", WANTED)
def test_the_node_that_a_user_wants_is_among_the_first_three(
    entries: dict[str, tuple[list[str], list[str]]], typed: str
) -> None:
    found = ranked(typed, entries)
    assert set(found[: PLACES.get(typed, 3)]) & set(WANTED[typed]), found[:6]


def test_every_node_has_words_that_people_type(studio: Studio) -> None:
    info: dict[str, Any] = studio.server.object_info()
    ours = {key: node for key, node in info.items() if key.startswith(ID)}
    assert [key for key, node in ours.items() if not node.get("search_aliases")] == []
    for key, node in ours.items():
        for alias in node["search_aliases"]:
            assert alias == alias.lower().strip(), (key, alias)


def test_no_name_is_a_bare_word_of_the_field(studio: Studio) -> None:
    info = studio.server.object_info()
    names = {n["display_name"].lower() for k, n in info.items() if k.startswith(ID)}
    assert names & BARE == set()
