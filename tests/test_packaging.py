"""Across the files of the package: all that the pack imports and serves, and nothing else."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKED = {
    *("LICENSE", "README.md", "__init__.py", "pyproject.toml"),
    *("dc_model", "nodes", "docs", "locales", "subgraphs", "web", "workflows"),
}
# What ComfyUI brings.
AT_START = {
    *("torch", "einops", "numpy", "safetensors", "PIL", "tqdm"),
    *("comfy", "comfy_api", "folder_paths", "latent_preview", "node_helpers"),
}
# Slow to import, or not there in every environment.
WHERE_USED = {"transformers", "dreamsim"}


def ignored() -> set[str]:
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    return {line.rstrip("/") for line in lines if line and not line.startswith("#")}


def sources() -> list[Path]:
    folders = (ROOT / "nodes", ROOT / "dc_model")
    return [ROOT / "__init__.py", *(p for f in folders for p in sorted(f.rglob("*.py")))]


def imports(path: Path) -> Iterator[tuple[bool, str]]:
    """(at the file's top, module) of every import; relative ones as paths below the root."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((id(node) in top, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].relative_to(ROOT)
            yield id(node) in top, f"./{folder.as_posix()}/{(node.module or '').replace('.', '/')}"
        elif isinstance(node, ast.ImportFrom):
            yield id(node) in top, node.module or ""


def test_only_the_pack_is_packed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout, and what is published comes from one")
    files = set(listed.stdout.splitlines())
    tracked = {line.split("/")[0] for line in files}
    kept = {name for name in tracked if not name.startswith(".")} - ignored()
    assert kept == PACKED
    assert ignored() <= tracked | files


def test_the_packed_files_are_small() -> None:
    files = [p for name in PACKED for p in (ROOT / name, *(ROOT / name).rglob("*")) if p.is_file()]
    own = [p for p in files if p.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in own) < 4e6


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_everything_imported_is_packed_or_comes_with_the_host(path: Path) -> None:
    for at_start, name in imports(path):
        if name.startswith("./"):
            target = ROOT / name
            assert target.is_dir() or target.with_suffix(".py").is_file(), name
            first = target.resolve().relative_to(ROOT).parts
            assert not first or first[0].removesuffix(".py") in PACKED, name
            continue
        package = name.split(".")[0]
        if package not in sys.stdlib_module_names:
            assert package in (AT_START if at_start else AT_START | WHERE_USED), name


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_registrys_fields(project: dict[str, Any]) -> None:
    about, comfy = project["project"], project["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{1,98}", about["name"])
    assert "comfy" not in about["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
    assert about["dependencies"] == []
    assert (ROOT / about["license"]["file"]).read_text(encoding="utf-8").lstrip().startswith("GNU")
    assert comfy["PublisherId"] and comfy["DisplayName"]
    assert comfy["requires-comfyui"] == ">=0.18.2"
    # The icon is fetched from the repository, so it has to lie there under this name.
    repository = about["urls"]["Repository"].removeprefix("https://github.com/")
    assert comfy["Icon"].startswith(f"https://raw.githubusercontent.com/{repository}/main/")
    assert (ROOT / comfy["Icon"].split("/main/")[1]).is_file()


def test_every_folder_of_the_library_is_installed(project: dict[str, Any]) -> None:
    folders = sorted({p.parent for p in (ROOT / "dc_model").rglob("*.py")})
    names = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
    assert project["tool"]["setuptools"]["packages"] == names


def test_every_file_that_the_readme_points_to_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r'\]\(([^)#]+)\)|src="([^"]+)"', text)
    local = [a or b for a, b in links if not (a or b).startswith("http")]
    assert local
    assert [name for name in local if not (ROOT / name).exists()] == []


def test_workflows_and_blueprints_are_json() -> None:
    files = [*(ROOT / "workflows").glob("*.json"), *(ROOT / "subgraphs").iterdir()]
    assert all(json.loads(path.read_text(encoding="utf-8"))["nodes"] for path in files)
