"""Across the pack: its import rests on nothing that may be broken, and takes little time."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# ComfyUI itself does not start without these, so the pack needs no word about them.
HOST = {"comfy", "comfy_api", "folder_paths", "latent_preview", "node_helpers"}
ALWAYS_THERE = {"torch", "einops", "numpy", "PIL", "safetensors", "tqdm", *HOST}
# Imported where it is used, by a function that names the repairing command.
OPTIONAL = {"dreamsim", "transformers"}


def imported(path: Path) -> set[str]:
    """Libraries that a file imports, at its top or inside of its functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


def test_the_pack_rests_on_nothing_that_may_be_broken() -> None:
    files = [ROOT / "__init__.py"]
    files += [path for part in ("dc_model", "nodes") for path in (ROOT / part).rglob("*.py")]
    found = {name: path for path in files for name in imported(path)}
    assert set(found) - ALWAYS_THERE == OPTIONAL, found


def test_an_optional_library_comes_with_the_command_that_brings_it() -> None:
    files = list((ROOT / "dc_model").rglob("*.py"))
    for name in OPTIONAL:
        (path,) = (path for path in files if name in imported(path))
        assert f"python -m pip install {name}" in path.read_text(encoding="utf-8")


def test_nothing_is_made_at_import_that_can_wait() -> None:
    """A dataclass takes six times as long to make as a `NamedTuple`, a pattern as long as a module.

    `scripts/import_time.py` measures it. `pipeline` is not imported by ComfyUI.
    """
    files = [path for part in ("dc_model", "nodes") for path in (ROOT / part).rglob("*.py")]
    slow = {
        (path.relative_to(ROOT).as_posix(), ast.unparse(part))
        for path in files
        if path != ROOT / "dc_model" / "pipeline.py"
        for part in _at_import(ast.parse(path.read_text(encoding="utf-8")))
        if ast.unparse(part).startswith(("re.compile", "dataclass", "from dataclasses"))
    }
    assert slow == set()


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """All that runs when a module is imported: not what stands in functions."""
    yield tree
    if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for part in ast.iter_child_nodes(tree):
            yield from _at_import(part)
