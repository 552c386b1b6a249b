"""Requests to a ComfyUI server: run prompts, upload pictures, fetch results, hear of progress."""

import contextlib
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from .connection import EventStream

_LAST_EVENTS = ("execution_success", "execution_error", "execution_interrupted")
# Seconds that a server may take to answer: one that loads a model, on a busy machine, takes many.
_ANSWER = 300.0
# Seconds to wait for what should be on its way: the last events of a prompt that has ended, the
# exit status of a server that has dropped the connection.
_PATIENCE = 10.0
# A proxy that the environment names must not stand between us and a server on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Progress = Callable[[str, int, int], None]
"""Called with a node's id, the step it has finished and its number of steps; 0, 0 at its start."""


class ServerError(RuntimeError):
    """The server did not start, died, or refused a request."""


class PromptError(ServerError):
    """The server refused a prompt or a node failed.

    node_id, node_type: the (first) node concerned, "" when the prompt as a whole is refused.
    exception_type: the class name of the node's exception, or the validation error's type.
    node_message: what the node or the validation said, alone.
    errors: the validation errors by node id, as the server sent them; empty for a failed run.
    """

    def __init__(
        self,
        node_message: str,
        *,
        node_id: str = "",
        node_type: str = "",
        exception_type: str = "",
        errors: Mapping[str, Any] | None = None,
    ) -> None:
        self.node_message = node_message.strip()
        self.node_id = node_id
        self.node_type = node_type
        self.exception_type = exception_type
        self.errors = dict(errors or {})
        where = f"{node_type} (node {node_id}): " if node_id else ""
        super().__init__(where + self.node_message)


class InterruptedPromptError(ServerError):
    """The prompt was interrupted."""


class PromptTimeoutError(ServerError):
    """The prompt took longer than the caller was willing to wait."""


class ComfyClient:
    """A ComfyUI server on this machine, seen through its HTTP interface."""

    def __init__(self, host: str = "127.0.0.1", port: int = 8188) -> None:
        self.host = host
        self.port = port
        self._client_id = uuid.uuid4().hex

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{self.host}:{self.port}"

    def check_alive(self) -> None:
        """Raises ServerError when the server is known to have ended; a client cannot know."""

    def prompt(
        self,
        prompt: Mapping[str, Any],
        *,
        on_progress: Progress | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Runs an API-format prompt and returns its outputs by node id, as the history has them.

        on_progress: hears of every step; see `Progress`.
        timeout: seconds after which the prompt is cancelled and PromptTimeoutError raised.
        Raises PromptError when the server refuses the prompt or a node fails,
        InterruptedPromptError when somebody interrupts it, ServerError when the server dies.
        """
        with self.events() as events:
            prompt_id = self.submit(prompt)
            try:
                return self._follow(prompt_id, events, on_progress, timeout)
            except (KeyboardInterrupt, PromptTimeoutError):
                with contextlib.suppress(ServerError):
                    self.cancel(prompt_id)
                raise

    def events(self, client_id: str | None = None) -> "EventStream":
        """What the server sends this client, or the one of another id."""
        from .connection import EventStream

        return EventStream(
            f"ws://{self.host}:{self.port}/ws?clientId={client_id or self._client_id}"
        )

    def submit(self, prompt: Mapping[str, Any]) -> str:
        """Queues an API-format prompt and returns its id at once. Raises PromptError if refused."""
        try:
            reply = self._request("/prompt", {"prompt": prompt, "client_id": self._client_id})
        except _HTTPError as error:
            if not error.body:
                raise
            raise _validation_error(error.body) from None
        if reply.get("node_errors"):
            # Some outputs are valid, so the server has queued what it could of the prompt.
            self.cancel(reply["prompt_id"])
            raise _validation_error(reply)
        return reply["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 600.0) -> dict[str, Any]:
        """Waits until a submitted prompt has run and returns its outputs; raises as `prompt`."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            entry = self.history(prompt_id)
            if entry is not None:
                return _outputs(entry)
            self.check_alive()
            time.sleep(0.1)
        raise PromptTimeoutError(f"prompt {prompt_id} is not done after {timeout:.0f} s")

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """The server's record of a prompt that has ended, or None."""
        return self._request(f"/history/{prompt_id}").get(prompt_id)

    def interrupt(self) -> None:
        """Interrupts the prompt that runs."""
        self._request("/interrupt", {})

    def cancel(self, prompt_id: str) -> None:
        """Takes a prompt out of the queue, or interrupts it when it is the one that runs."""
        self._request("/queue", {"delete": [prompt_id]})
        self._request("/interrupt", {"prompt_id": prompt_id})

    def object_info(self) -> dict[str, Any]:
        """Every node's inputs and outputs by node id."""
        return self._request("/object_info")

    def system_stats(self) -> dict[str, Any]:
        """The server's version, arguments and devices."""
        return self._request("/system_stats")

    def free_memory(self) -> None:
        """Asks for models to be unloaded and results forgotten; one more prompt may run first."""
        self._request("/free", {"unload_models": True, "free_memory": True})

    def upload_image(self, path: str | Path, name: str | None = None) -> str:
        """Uploads a picture into the server's input folder; returns the value for LoadImage."""
        from .connection import upload

        path, place = Path(path), "/upload/image"
        try:
            status, body = upload(self.url + place, path, name or path.name, _ANSWER)
        except OSError as error:
            self._no_answer(place, error)
        if status != http.HTTPStatus.OK:
            raise _HTTPError(place, status, body)
        reply = json.loads(body)
        return "/".join(part for part in (reply.get("subfolder"), reply["name"]) if part)

    def view(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:
        """A file of the output, input or temp folder: `view(**outputs[node]["images"][0])`."""
        query = {"filename": filename, "subfolder": subfolder, "type": type}
        return self._send("/view?" + urllib.parse.urlencode(query))

    def get(self, path: str) -> Any:
        """The JSON that the server has at `path`, such as `/workflow_templates`."""
        return self._request(path)

    def _follow(
        self,
        prompt_id: str,
        events: "EventStream",
        on_progress: Progress | None,
        timeout: float | None,
    ) -> dict[str, Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        entry = None
        while True:
            if entry is None and deadline is not None and time.monotonic() > deadline:
                raise PromptTimeoutError(f"prompt {prompt_id} is not done after {timeout:.0f} s")
            try:
                message = events.receive(timeout=1.0 if entry is None else _PATIENCE)
            except OSError as error:
                self._explain_end(error)
            if message is None:
                if entry is not None:
                    return _outputs(entry)
                self.check_alive()
                # Its last events may be on their way here while the record is there already.
                entry = self.history(prompt_id)
                continue
            if isinstance(message, bytes):
                continue  # a preview
            event = json.loads(message)
            _report(event, prompt_id, on_progress)
            if event.get("type") in _LAST_EVENTS and event["data"].get("prompt_id") == prompt_id:
                return self.wait(prompt_id, timeout=60)  # The record is written a moment later.

    def _explain_end(self, error: OSError) -> NoReturn:
        """Raises what `check_alive` finds; a dying process takes a while to have a status."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            self.check_alive()
            time.sleep(0.1)
        raise ServerError(f"the server has dropped the connection ({error})") from error

    def _request(self, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        reply = self._send(path, body)
        return json.loads(reply) if reply else None

    def _send(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body)
        request.add_header("Content-Type", "application/json")
        try:
            with _OPENER.open(request, timeout=_ANSWER) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            raise _HTTPError(path, error.code, error.read()) from None
        except (OSError, http.client.HTTPException) as error:
            self._no_answer(path, error)

    def _no_answer(self, path: str, error: Exception) -> NoReturn:
        self.check_alive()
        raise ServerError(f"{path}: the server does not answer ({error})") from error


class _HTTPError(ServerError):
    def __init__(self, path: str, status: int, body: bytes) -> None:
        self.body: Mapping[str, Any] = {}
        with contextlib.suppress(ValueError):
            self.body = json.loads(body)
        super().__init__(f"{path}: HTTP status {status}: {body[:500].decode(errors='replace')}")


def _report(event: Mapping[str, Any], prompt_id: str, on_progress: Progress | None) -> None:
    data = event.get("data") or {}
    if on_progress is None or data.get("prompt_id") != prompt_id or data.get("node") is None:
        return
    if event.get("type") == "executing":
        on_progress(str(data["node"]), 0, 0)
    elif event.get("type") == "progress":
        on_progress(str(data["node"]), int(data["value"]), int(data["max"]))


def _outputs(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a finished prompt's record; raises when the record reports a failure."""
    for kind, data in entry.get("status", {}).get("messages", []):
        if kind == "execution_error":
            raise PromptError(
                data.get("exception_message") or data.get("exception_type", ""),
                node_id=str(data.get("node_id", "")),
                node_type=data.get("node_type", ""),
                exception_type=data.get("exception_type", ""),
            )
        if kind == "execution_interrupted":
            raise InterruptedPromptError("the prompt was interrupted")
    return dict(entry.get("outputs", {}))


def _validation_error(body: Mapping[str, Any]) -> PromptError:
    """The server's refusal of a prompt, led by the first node error."""
    nodes = body.get("node_errors") or {}
    for node_id, node in nodes.items():
        for error in node.get("errors", []):
            text = ": ".join(t for t in (error.get("message"), error.get("details")) if t)
            return PromptError(
                text,
                node_id=str(node_id),
                node_type=node.get("class_type", ""),
                exception_type=error.get("type", ""),
                errors=nodes,
            )
    error = body.get("error") or {}
    if isinstance(error, str):
        error = {"message": error}
    return PromptError(
        ": ".join(t for t in (error.get("message"), error.get("details")) if t) or str(dict(body)),
        exception_type=error.get("type", ""),
        errors=nodes,
    )
