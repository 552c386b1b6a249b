"""Across the shipped workflows: the files are what their description says."""

import os
from pathlib import Path
from typing import Any

import pytest
from comfyui import setup as comfy_setup
from shipped.catalog import WORKFLOWS, contents
from shipped.names import TITLES


@pytest.mark.server
@pytest.mark.skipif(
    os.environ.get("COMFYUI_RELEASE", comfy_setup.DEFAULT_RELEASE) != comfy_setup.DEFAULT_RELEASE,
    reason="the files are written for the newest supported ComfyUI",
)
def test_the_files_are_those_that_the_description_gives(
    object_info: dict[str, Any], root: Path
) -> None:
    wanted = {str(path): text for path, text in contents(object_info).items()}
    found = {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for folder in ("workflows", "subgraphs")
        for path in (root / folder).glob("*.json")
    }
    assert sorted(found) == sorted(wanted)
    changed = [name for name in wanted if found[name] != wanted[name]]
    assert changed == [], "run python3 scripts/write_workflows.py"


def test_every_name_has_a_workflow() -> None:
    assert {*WORKFLOWS, "box"} == set(TITLES)


def test_the_plain_one_comes_first() -> None:
    """Hosts list templates by file name where their file system sorts."""
    titles = list(TITLES.values())
    assert min(titles) == titles[0] == TITLES["animate"]
    assert min(f"{title}.json" for title in titles) == f"{titles[0]}.json"
