"""The image's context: what goes to which conditioning, and which encoders are refused."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import conditioning
from pack.nodes import context
from pack.nodes.checks import InputError
from pack.nodes.context import add_context, encode_context
from pack.nodes.host import keys
from torch import Tensor

WIDTH, EMBEDDING = 8, 6


class FakeProjector:
    """A query transformer that doubles the tokens' first channels."""

    load_device = torch.device("cpu")

    def __init__(self, factor: float = 2.0) -> None:
        arch = SimpleNamespace(output_dim=WIDTH, embedding_dim=EMBEDDING)
        self.factor = factor
        self.model: Any = self.run
        self.run.__func__.arch = arch  # type: ignore[attr-defined]

    def run(self, tokens: Tensor) -> Tensor:
        return torch.nn.functional.pad(tokens, (0, WIDTH - EMBEDDING)) * self.factor


@pytest.fixture(autouse=True)
def loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context.comfy.model_management, "load_model_gpu", lambda _: None)


def tokens(value: float, width: int = EMBEDDING) -> dict[str, Tensor]:
    return {"last_hidden_state": torch.full((1, 257, width), value)}


def test_the_negative_gets_no_image_and_image_only_gets_no_prompt() -> None:
    positive, negative = conditioning(), [[torch.ones(1, 77, WIDTH), {}]]
    found = add_context(positive, negative, FakeProjector(), tokens(0.5), tokens(0.1), "shared")
    contexts = [round(float(c[0][1][keys.IMAGE_CONTEXT][0, 0, 0]), 4) for c in found]
    assert contexts == [1.0, 0.2, 1.0]
    assert [bool(c[0][0].any()) for c in found] == [False, True, True]
    assert {c[0][1][keys.FRAME_TOKENS] for c in found} == {"shared"}


def test_another_models_encoders_are_refused() -> None:
    texts, projector = (conditioning(), conditioning()), FakeProjector()
    with pytest.raises(InputError, match="text encoder gives 9 channels, this model needs 8"):
        add_context(texts[0], conditioning(9), projector, tokens(1), tokens(0))
    with pytest.raises(InputError, match="image encoder gives 257 x 5 tokens"):
        add_context(*texts, projector, tokens(1, 5), tokens(0))
    with pytest.raises(InputError, match="not finite"):
        add_context(*texts, FakeProjector(float("inf")), tokens(1), tokens(0))
    with pytest.raises(InputError, match="takes images of 336 pixels, this model's takes 224"):
        encode_context(SimpleNamespace(image_size=336), torch.zeros(1, 8, 8, 3))
