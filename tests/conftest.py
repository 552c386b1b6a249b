"""Makes `dc_model` importable without installing the pack and without its root `__init__.py`.

The root of the checkout must not be on `sys.path`: its `nodes` folder would hide ComfyUI's module
of the same name.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT, import_package
from comfyui.server import ComfyServer
from servers import pack_server

import_package("dc_model")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow files first where several processes share them: none is left alone with one at the end.

    With `--no-loadscope-reorder`, files are handed out in this order.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """The half million objects of modules and tests stay: looking for garbage among them is a tenth
    of the run.
    """
    gc.freeze()


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
