"""Imports parts of the checkout without putting it on `sys.path`: its `nodes` hides the host's."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def import_package(name: str) -> None:
    """Make the top-level package `name` importable by that name."""
    folder = ROOT / name
    _load(name, folder / "__init__.py", [str(folder)])


def import_file(name: str, path: Path) -> None:
    """Make one file importable as the module `name`."""
    _load(name, path, None)


def _load(name: str, path: Path, search: list[str] | None) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=search)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
