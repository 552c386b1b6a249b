"""What the nodes of the tests share."""

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from safetensors.torch import load_file
from torch import Tensor

ANY = io.Custom("*")


def schema(node_id: str, inputs: list[Any], outputs: list[Any], **options: Any) -> io.Schema:
    """A node of the tests' own category."""
    return io.Schema(node_id=node_id, category="tests", inputs=inputs, outputs=outputs, **options)


def file_inputs() -> list[Any]:
    """`file` in the input folder and `key` of a tensor in it."""
    return [io.String.Input("file"), io.String.Input("key")]


def read_input(file: str, key: str) -> Tensor:
    """The tensor that `file_inputs` name."""
    return load_file(Path(folder_paths.get_input_directory()) / file)[key]
