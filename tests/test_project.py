"""Across the project: statements that stand in more than one file, versions, hosts, actions.

This is about files that no module reads, so none has its name.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from comfyui.setup import RELEASES

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def only(pattern: str, name: str) -> str:
    """What the first match of `pattern` in a file holds."""
    found = re.search(pattern, text(name), re.MULTILINE)
    assert found is not None, (pattern, name)
    return found[1]


def jobs(name: str) -> dict[str, Any]:
    return yaml.safe_load(text(f".github/workflows/{name}"))["jobs"]


def test_one_version() -> None:
    version = only(r'^version = "(.+)"$', "pyproject.toml")
    assert only(r"^version: (.+)$", "CITATION.cff") == version
    assert only(r"^## (\S+)", "CHANGELOG.md") == version


def test_one_ruff() -> None:
    config = yaml.safe_load(text(".pre-commit-config.yaml"))
    revisions = {repo["repo"].split("/")[-1]: repo["rev"] for repo in config["repos"]}
    pinned = only(r"^ruff==([0-9.]+)", "scripts/constraints.txt")
    assert revisions["ruff-pre-commit"] == f"v{pinned}"


def test_every_host_and_python_is_tested() -> None:
    matrix = jobs("test.yml")["suite"]["strategy"]["matrix"]
    assert set(matrix["comfyui"]) == set(RELEASES)
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert only(r'^requires-python = ">=(.+)"$', "pyproject.toml") == matrix["python"][0]
    assert only(r'^requires-comfyui = ">=(.+)"$', "pyproject.toml") == matrix["comfyui"][0]


def test_nothing_is_published_untested() -> None:
    publish = jobs("publish.yml")
    assert publish["test"]["uses"] == "./.github/workflows/test.yml"
    assert publish["publish"]["needs"] == "test"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_actions_are_pinned(path: Path) -> None:
    used = re.findall(r"uses: *(\S+)", path.read_text(encoding="utf-8"))
    assert [name for name in used if not re.search(r"@[0-9a-f]{40}$|^\./", name)] == []
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


def test_what_publishes_is_installed_by_hash() -> None:
    steps = jobs("publish.yml")["publish"]["steps"]
    (install,) = (step["run"] for step in steps if "pip" in step.get("run", ""))
    assert "--require-hashes --no-deps" in install
    lines = text(install.split()[-1]).replace("\\\n", "").splitlines()[1:]
    assert [
        line for line in lines if not re.search(r"==\S+ +--hash=sha256:[0-9a-f]{64}$", line)
    ] == []
    assert any(line.startswith("comfy-cli==") for line in lines)


def test_the_papers_to_cite() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    papers = [citation["preferred-citation"], *citation["references"]]
    names = ("DynamiCrafter", "VideoCrafter1", "VideoCrafter2", "ToonCrafter", "ViewCrafter")
    titles = " ".join(paper["title"] for paper in papers)
    assert all(name in titles for name in (*names, "Conditional Image Leakage"))
    method = text("docs/method.md")
    assert all(paper["url"] in method and paper["authors"] for paper in papers)
