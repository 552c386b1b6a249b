"""Across the pack: its import rests on nothing that may be broken, and takes little time."""

import ast
import sys
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


def test_the_pack_makes_no_dataclasses() -> None:
    """Each takes six times as long to make as a `NamedTuple`, while ComfyUI starts.

    `scripts/import_time.py` measures it. ComfyUI does not import `pipeline`.
    """
    files = [path for part in ("dc_model", "nodes") for path in (ROOT / part).rglob("*.py")]
    using = [p.name for p in files if "dataclasses" in p.read_text(encoding="utf-8")]
    assert using == ["pipeline.py"]
