"""Watches what a VAE's network is given, and lets it run out of memory."""

import copy
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io

from .common import ANY, schema


class _Watched:
    """A VAE's network that notes the rows of every call, on a card that takes `most_rows`."""

    def __init__(self, network: Any, most_rows: int):
        self.network, self.most_rows = network, most_rows
        self.seen: dict[str, list[int]] = {"encode": [], "decode": [], "refused": []}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def encode(self, images: torch.Tensor, **options: Any) -> torch.Tensor:
        self._take("encode", images)
        return self.network.encode(images, **options)

    def decode(self, latents: torch.Tensor, **options: Any) -> torch.Tensor:
        self._take("decode", latents)
        return self.network.decode(latents, **options)

    def _take(self, kind: str, rows: torch.Tensor) -> None:
        if self.most_rows and rows.shape[0] > self.most_rows:
            self.seen["refused"].append(rows.shape[0])
            raise torch.cuda.OutOfMemoryError("as on a small card")
        self.seen[kind].append(rows.shape[0])


class TestWatchVAE(io.ComfyNode):
    """A VAE and the calls of its network.

    name: makes nodes differ. most_rows: images or latents at once before memory runs out, 0 = any.
    rows_that_fit: rows that the host expects to fit into free memory, 0 = its own estimate.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        numbers = [io.Int.Input(name) for name in ("most_rows", "rows_that_fit")]
        inputs = [io.Vae.Input("vae"), io.String.Input("name"), *numbers]
        return schema("TestWatchVAE", inputs, [io.Vae.Output(), ANY.Output()])

    @classmethod
    def execute(cls, vae: Any, name: str, most_rows: int, rows_that_fit: int) -> io.NodeOutput:
        del name
        watched = copy.copy(vae)
        watched.first_stage_model = _Watched(vae.first_stage_model, most_rows)
        if rows_that_fit:
            # Half a row more, since free memory moves while we look.
            def memory(*_: Any) -> float:
                free = comfy.model_management.get_free_memory(watched.device)
                return free / (rows_that_fit + 0.5)

            watched.memory_used_decode = watched.memory_used_encode = memory
        return io.NodeOutput(watched, watched.first_stage_model.seen)


class TestCallsSeen(io.ComfyNode):
    """The rows of each call, once `after` is there."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestCallsSeen", [ANY.Input("seen"), ANY.Input("after")], [ANY.Output()])

    @classmethod
    def execute(cls, seen: dict[str, list[int]], after: Any) -> io.NodeOutput:
        del after
        return io.NodeOutput({kind: torch.tensor(rows) for kind, rows in seen.items()})
