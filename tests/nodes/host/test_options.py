"""Settings of a MODEL: on a clone, beside the others."""

import copy
from typing import Any

from pack.nodes.host.options import transformer_option, with_transformer_option


class FakePatcher:
    def __init__(self, model_options: dict[str, Any]):
        self.model_options = model_options

    def clone(self) -> "FakePatcher":
        return FakePatcher(copy.deepcopy(self.model_options))


def test_a_setting_is_the_clones_alone() -> None:
    model = FakePatcher({"transformer_options": {"other": 1}})
    clone = with_transformer_option(model, "ours", (1.0, 2.0))
    assert transformer_option(clone, "ours") == (1.0, 2.0)
    assert transformer_option(clone, "other") == 1
    assert transformer_option(model, "ours") is None


def test_a_model_without_settings() -> None:
    model = FakePatcher({})
    assert transformer_option(model, "ours") is None
    assert transformer_option(with_transformer_option(model, "ours", 3), "ours") == 3
