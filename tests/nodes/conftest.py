"""The real server, once for all tests of nodes and workflows, with tiny checkpoints."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from graphs import Graph
from studio import Studio


@pytest.fixture(scope="session")
def comfyui() -> Path:
    folder = os.environ.get("COMFYUI_PATH")
    if not folder:
        pytest.skip("COMFYUI_PATH is not set: run python3 scripts/test.py for the server's tests")
    return Path(folder)


def start_server(comfyui: Path, root: Path, base: Path) -> ComfyServer:
    """A server with the pack and the tests' own nodes, not yet started."""
    support = root / "tests" / "nodes" / "support_pack"
    return ComfyServer(
        comfyui, base, packs=[root, support], extra_args=["--fp32-text-enc"], cpu=True
    )


@pytest.fixture(scope="session")
def studio(
    comfyui: Path, root: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    with start_server(comfyui, root, tmp_path_factory.mktemp("server")) as server:
        yield Studio(server, golden)


@pytest.fixture(scope="module")
def fresh_studio(
    comfyui: Path, root: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A server that nothing has run on, and that gives freed memory back to the system.

    Otherwise holes in the C library's heap hide whether objects are kept.
    """
    with pytest.MonkeyPatch.context() as patch:
        for setting in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
            patch.setenv(setting, "65536")
        with start_server(comfyui, root, tmp_path_factory.mktemp("fresh")) as server:
            yield Studio(server, golden)


@pytest.fixture
def graph() -> Graph:
    return Graph()
