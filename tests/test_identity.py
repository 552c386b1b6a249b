"""Across the files that name the registry id: "Install missing nodes" finds a pack by it alone."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ID = "dynamicrafter-nodes"
# Another pack's id. It may be named as such, never given as ours.
FOREIGN = "dynamicrafter"
GIVEN_AS_OURS = (
    rf"node install {FOREIGN}(?![\w-])",
    rf"""cnr_id["']?\s*[:=]\s*["']{FOREIGN}["']""",
    rf"""(?m)^name = ["']{FOREIGN}["']""",
    rf"registry\.comfy\.org/nodes/{FOREIGN}(?![\w-])",
    rf"custom_nodes/{FOREIGN}(?![\w-])",
)
TEXTS = {".py", ".md", ".json", ".toml", ".yml", ".yaml", ".cff", ".txt"}


def saved_graphs() -> list[Path]:
    return [*(ROOT / "workflows").glob("*.json"), *(ROOT / "subgraphs").glob("*.json")]


def nodes_of(graph: Any) -> Iterator[dict[str, Any]]:
    """Every node of a saved graph, those inside of its subgraphs included."""
    yield from graph["nodes"]
    for definition in graph.get("definitions", {}).get("subgraphs", []):
        yield from definition["nodes"]


def test_the_project_has_the_id() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf'(?m)^name = "{ID}"$', text)
    assert re.search(rf'(?m)^Repository = "https://github\.com/\w+/{ID}"$', text)


def test_the_readme_installs_the_id() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"comfy node install {ID}" in text
    assert re.search(rf"git clone https://github\.com/\w+/{ID}\b", text)


@pytest.mark.parametrize("path", saved_graphs(), ids=lambda path: path.stem)
def test_every_saved_node_names_its_pack(path: Path) -> None:
    graph = json.loads(path.read_text(encoding="utf-8"))
    subgraphs = {d["id"] for d in graph.get("definitions", {}).get("subgraphs", [])}
    for node in nodes_of(graph):
        if node["type"].endswith("Note"):
            continue
        ours = node["type"].startswith("DynamiCrafter") or node["type"] in subgraphs
        assert node["properties"]["cnr_id"] == (ID if ours else "comfy-core"), node["type"]


def test_nothing_gives_the_other_packs_id_as_ours() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    files = [ROOT / name for name in listed.stdout.splitlines()]
    wrong = []
    for path in files:
        if path.suffix in TEXTS and path.is_file() and path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8")
            wrong += [f"{path.name}: {p}" for p in GIVEN_AS_OURS if re.search(p, text)]
    assert wrong == []
