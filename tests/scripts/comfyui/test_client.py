"""What the client makes of a server's answers, with the answers replaced."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from comfyui.client import ComfyClient, PromptError, PromptTimeoutError, ServerError
from comfyui.connection import DroppedConnectionError

ENDED = {"status": {"messages": []}, "outputs": {"9": {"images": []}}}


class Answers(ComfyClient):
    """Hands out a record of prompt "p" and keeps the requests."""

    def __init__(self, reply: Any = None, record: Any = ENDED) -> None:
        super().__init__()
        self.requests: list[tuple[str, Any]] = []
        self.reply, self.record = reply, record

    def history(self, prompt_id: str) -> Any:
        assert prompt_id == "p"
        return self.record

    def _request(self, path: str, data: Any = None) -> Any:
        self.requests.append((path, data))
        return self.reply if path == "/prompt" else None


class Events:
    """A connection that brings these messages; None is a silence."""

    def __init__(self, *messages: dict[str, Any] | None) -> None:
        self.messages: Iterator[dict[str, Any] | None] = iter(messages)

    def receive(self, **_: float) -> str | None:
        message = next(self.messages)
        return None if message is None else json.dumps(message)


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": {"prompt_id": "p", "node": "3", **data}}


def follow(client: ComfyClient, events: Any, timeout: float | None = None) -> list[Any]:
    """What `on_progress` hears until the prompt ends."""
    seen: list[Any] = []
    outputs = client._follow("p", events, lambda *step: seen.append(step), timeout)
    assert outputs == ENDED["outputs"]
    return seen


def test_steps_that_come_after_the_record_are_heard():
    steps = [event("executing"), None, event("progress", value=1, max=2)]
    steps += [event("progress", value=2, max=2), event("execution_success")]
    assert follow(Answers(), Events(*steps)) == [("3", 0, 0), ("3", 1, 2), ("3", 2, 2)]


def test_an_end_that_no_event_tells_is_noticed():
    assert follow(Answers(), Events(event("executing"), None, None)) == [("3", 0, 0)]


def test_a_prompt_that_takes_too_long():
    with pytest.raises(PromptTimeoutError, match="prompt p is not done after -1 s"):
        follow(Answers(record=None), Events(), timeout=-1)


def test_a_dropped_connection_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    class Dropped(Events):
        def receive(self, **_: float) -> str | None:
            raise DroppedConnectionError("the server closed the connection")

    monkeypatch.setattr("comfyui.client._PATIENCE", 0.0)
    with pytest.raises(ServerError, match="has dropped the connection"):
        follow(Answers(), Dropped())


def test_a_prompt_with_one_bad_output_is_cancelled_and_nobody_elses():
    error = {"type": "value_smaller_than_min", "message": "too small", "details": "steps"}
    errors = {"4": {"class_type": "KSampler", "errors": [error]}}
    client = Answers({"prompt_id": "p", "node_errors": errors})
    with pytest.raises(PromptError, match=r"KSampler \(node 4\): too small: steps"):
        client.submit({})
    assert client.requests[1:] == [
        ("/queue", {"delete": ["p"]}),
        ("/interrupt", {"prompt_id": "p"}),
    ]
