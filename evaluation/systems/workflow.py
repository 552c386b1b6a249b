"""Any ComfyUI workflow: the clip's picture, prompt, seed and size go in, its video comes out."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from dc_model.shown import shown
from training.config import Section
from training.data.video import VIDEO_SUFFIXES, BrokenVideo, fit_clip, is_picture, read_picture

from ..items import Item, ItemError
from ..protocol import Protocol
from ..videos import ClipShape, VideoError, read_clip
from .base import Maker, SystemSection, SystemStopped, require_file
from .places import Prompt, find_places, set_places

if TYPE_CHECKING:
    from scripts.comfyui.client import ComfyClient

Place = Annotated[str, Field(pattern=r"^[^.]+(:[^.]+)*\..+$")]


class Places(Section):
    """Where things go in, as NODE.INPUT ("12.image"); what is empty is looked for."""

    picture: Place | None = None
    prompt: Place | None = None
    seed: Place | None = None
    width: Place | None = None
    height: Place | None = None
    frames: Place | None = None


class WorkflowSystem(SystemSection):
    """workflow: a JSON file as the page or its API export saves it. server: HOST:PORT of one that
    runs; empty starts one, of the ComfyUI in `comfyui` or the one that the demo uses, with this
    pack and the checkpoints `models`. values: further settings, by NODE.INPUT. timeout: seconds a
    clip may take."""

    kind: Literal["workflow"]
    workflow: Annotated[str, Field(min_length=1)]
    server: str = ""
    comfyui: str = ""
    models: tuple[str, ...] = ()
    places: Places = Places()
    values: dict[Place, Any] = Field(default_factory=dict)
    timeout: Annotated[float, Field(gt=0)] = 3600.0

    def settings(self) -> dict[str, Any]:
        """Without the server's place: a clip may come from the next server."""
        decided = super().settings().items()
        return {k: v for k, v in decided if k not in ("server", "comfyui", "timeout")}

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        del device
        from scripts.comfyui.client import ServerError
        from scripts.comfyui.workflow_api import WorkflowError

        workflow = read_workflow(require_file(self.workflow, f"{self.name}.workflow"))
        with ExitStack() as stack:
            try:
                client = self._connect(stack)
                prompt = prompt_of(workflow, client.object_info)
            except (ServerError, WorkflowError) as error:
                raise SystemStopped(f"{self.name}: {shown(error, 400)}") from error
            places = find_places(prompt, self.places.model_dump(exclude_none=True))
            yield lambda item: self._make(client, prompt, places, item, protocol)

    def _connect(self, stack: ExitStack) -> "ComfyClient":
        from scripts.comfyui.client import ComfyClient
        from scripts.comfyui.server import ComfyServer
        from scripts.comfyui.setup import PACK, find_host

        if self.server:
            host, _, port = self.server.rpartition(":")
            if not host or not port.isdigit():
                raise SystemStopped(
                    f"{self.name}.server is '{shown(self.server)}'; write HOST:PORT."
                )
            return ComfyClient(host, int(port))
        host = find_host(self.comfyui or None)
        server = stack.enter_context(ComfyServer(host.comfyui, packs=[PACK], python=host.python))
        for model in self.models:
            file = require_file(model, f"{self.name}.models")
            (server.base / "models" / "checkpoints" / file.name).symlink_to(file.resolve())
        return server

    def _make(
        self,
        client: "ComfyClient",
        prompt: Prompt,
        places: Mapping[str, list[str]],
        item: Item,
        protocol: Protocol,
    ) -> Tensor:
        from scripts.comfyui.client import (
            InterruptedPromptError,
            PromptError,
            PromptTimeoutError,
            ServerError,
        )

        height, width = protocol.size
        try:
            name = client.upload_image(item.picture(), f"evaluation-{item.number:05d}.png")
            values = {
                "picture": name,
                "prompt": item.clip.caption,
                "seed": item.seed,
                "width": width,
                "height": height,
                "frames": protocol.frames,
            }
            filled = set_places(prompt, places, values, self.values)
            files = saved_files(client.prompt(filled, timeout=self.timeout))
            return frames_of(files, client.view, item.number, protocol)
        except (PromptError, PromptTimeoutError, InterruptedPromptError) as error:
            raise ItemError(f"{self.name}, clip {item.number}: {shown(error, 300)}") from error
        except ServerError as error:
            raise SystemStopped(f"{self.name}, clip {item.number}: {shown(error, 300)}") from error


def read_workflow(path: Path) -> Mapping[str, Any]:
    """A workflow's JSON. Raises SystemStopped."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemStopped(f"{shown(path.name)} is not JSON ({shown(error)}).") from error
    if not isinstance(loaded, dict):
        raise SystemStopped(f"{shown(path.name)} is not a workflow: it holds a list.")
    return loaded


def prompt_of(workflow: Mapping[str, Any], object_info: Callable[[], Mapping[str, Any]]) -> Prompt:
    """The API form of a workflow in either form."""
    from scripts.comfyui.workflow_api import to_api

    nodes = list(workflow.values())
    if nodes and all(isinstance(node, dict) and "class_type" in node for node in nodes):
        return dict(workflow)
    return to_api(workflow, object_info())


def saved_files(outputs: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """What a prompt saved: its videos, or else its pictures, in order; previews do not count."""
    entries = [
        entry
        for output in outputs.values()
        for listed in output.values()
        if isinstance(listed, list)
        for entry in listed
        if isinstance(entry, dict) and entry.get("type") == "output" and entry.get("filename")
    ]
    videos = [e for e in entries if Path(e["filename"]).suffix.lower() in VIDEO_SUFFIXES]
    return videos[:1] or [e for e in entries if is_picture(e["filename"])]


def frames_of(
    files: Sequence[Mapping[str, str]],
    view: Callable[..., bytes],
    number: int,
    protocol: Protocol,
) -> Tensor:
    """The video of a prompt, `[T, 3, H, W]` in [-1, 1]. Raises ItemError."""
    keys = ("filename", "subfolder", "type")
    contents = [view(**{k: entry[k] for k in keys if k in entry}) for entry in files]
    if not contents:
        raise ItemError(
            f"Clip {number}: the workflow saves no video and no pictures; add SaveVideo."
        )
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, Path(entry["filename"]).name) for entry in files]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        try:
            if is_picture(paths[0].name) and len(paths) > 1:
                pictures = [read_picture(str(path)) for path in paths]
                return fit_clip(torch.stack(pictures), protocol.size)
            shape = ClipShape(frames=protocol.frames, resolution=protocol.size)
            return read_clip(paths[0], shape) * 2 - 1
        except (BrokenVideo, VideoError, RuntimeError) as error:
            raise ItemError(f"Clip {number}: what the workflow saved: {shown(error)}") from error
