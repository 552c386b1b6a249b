"""Makes `dc_model` importable without installing the pack and without its root `__init__.py`.

The root of the checkout must not be on `sys.path`: its `nodes` folder would hide ComfyUI's module
of the same name.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from servers import pack_server

ROOT = Path(__file__).resolve().parents[1]


def _import_package(name: str, folder: Path) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_import_package("dc_model", ROOT / "dc_model")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def golden() -> Path:
    """Numbers that the published implementations produced (`tests/golden/README.md`)."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The folder of the ComfyUI to test with."""
    folder = os.environ.get("COMFYUI_PATH")
    if not folder:
        pytest.skip("COMFYUI_PATH is not set: run python3 scripts/test.py for the server's tests")
    return Path(folder)


@pytest.fixture(scope="session")
def server(
    comfyui: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    """The real server, once for all tests."""
    with pack_server(comfyui, root, tmp_path_factory.mktemp("server")) as running:
        yield running
