"""All that a server sends a client while a prompt runs, previews included."""

import io
import json
import struct
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from comfyui.client import ComfyClient
from PIL import Image
from studio import PATIENCE
from torch import Tensor

_PREVIEW = 1
# A proxy that the environment names must not stand between us and a server on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_LAST = ("execution_success", "execution_error", "execution_interrupted")


@dataclass
class Told:
    """Progress as (node, value, max), preview pictures `[H, W, 3]` in [0, 1], and how it ended."""

    progress: list[tuple[str, int, int]] = field(default_factory=list)
    previews: list[Tensor] = field(default_factory=list)
    ending: str = ""


def listen(
    server: ComfyClient, prompt: dict[str, Any], preview_method: str, timeout: float = PATIENCE
) -> Told:
    """Run a prompt and collect what the server sends."""
    client, told = uuid.uuid4().hex, Told()
    with server.events(client) as events:
        body = {
            "prompt": prompt,
            "client_id": client,
            "extra_data": {"preview_method": preview_method},
        }
        request = urllib.request.Request(
            server.url + "/prompt",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with _OPENER.open(request, timeout=PATIENCE) as reply:
            prompt_id = json.load(reply)["prompt_id"]
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not told.ending:
            message = events.receive(timeout=1.0)
            if isinstance(message, bytes):
                told.previews += _preview(message)
            elif message is not None:
                _note(json.loads(message), prompt_id, told)
    return told


def _preview(message: bytes) -> list[Tensor]:
    if struct.unpack(">I", message[:4])[0] != _PREVIEW:
        return []
    picture = Image.open(io.BytesIO(message[8:])).convert("RGB")
    return [torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)]


def _note(event: dict[str, Any], prompt_id: str, told: Told) -> None:
    data = event.get("data") or {}
    if data.get("prompt_id") != prompt_id:
        return
    if event["type"] == "progress":
        told.progress.append((str(data["node"]), int(data["value"]), int(data["max"])))
    elif event["type"] in _LAST:
        told.ending = event["type"]
