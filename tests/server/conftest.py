"""The real server with tiny checkpoints, as the tests of the nodes use it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from comfyui.server import NO_API_NODES, ComfyServer
from graphs import Graph
from servers import pack_server
from studio import Studio


@pytest.fixture(scope="session")
def studio(server: ComfyServer, golden: Path) -> Studio:
    """The server that all tests share."""
    return Studio(server, golden)


@pytest.fixture(scope="module")
def fresh_studio(
    comfyui: Path, root: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A server that nothing has run on, and that keeps neither freed memory nor old results.

    Otherwise holes in the C library's heap, MKL's buffers and the host's cache, which fills what
    memory is free, hide whether objects are kept.
    """
    base = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as patch:
        for setting in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
            patch.setenv(setting, "65536")
        patch.setenv("MKL_DISABLE_FAST_MM", "1")
        with pack_server(comfyui, root, base, "--cache-classic", *NO_API_NODES) as server:
            yield Studio(server, golden)


@pytest.fixture
def graph() -> Graph:
    return Graph()
