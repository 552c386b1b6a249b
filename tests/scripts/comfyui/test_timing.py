import pytest
from comfyui import timing
from comfyui.client import ComfyClient


class Pretended(ComfyClient):
    """Node a runs from second 1 to 3, b from 3 to 7 with two steps, a again from 7 to 8."""

    def prompt(self, prompt, *, on_progress=None, timeout=None):
        assert timeout is None
        assert on_progress is not None
        for node, value, maximum in (("a", 0, 0), ("b", 0, 0), ("b", 1, 2), ("b", 2, 2)):
            on_progress(node, value, maximum)
        on_progress("a", 0, 0)
        return {"b": prompt}


def test_each_node_has_its_own_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1.0, 3.0, 7.0, 8.0])
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(moments))
    outputs, seconds = timing.run_timed(Pretended("127.0.0.1", 1), {"b": {}})
    assert outputs == {"b": {"b": {}}}
    assert list(seconds.items()) == [("a", 3.0), ("b", 4.0)]
