"""What the shipped workflows need of the server."""

from typing import Any

import pytest
from comfyui.server import ComfyServer


@pytest.fixture(scope="session")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.object_info()
