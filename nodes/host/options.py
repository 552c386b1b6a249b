"""Settings of a MODEL for its network, which stock samplers hand through."""

from typing import Any

from .protocols import Model


def transformer_option(model: Model, key: str) -> Any:
    """What a MODEL has under `key`, or None."""
    return model.model_options.get("transformer_options", {}).get(key)


def with_transformer_option(model: Model, key: str, value: object) -> Any:
    """A clone of a MODEL with `value` under `key`; the given one stays as it is."""
    clone = model.clone()
    options = {**clone.model_options.get("transformer_options", {}), key: value}
    clone.model_options["transformer_options"] = options
    return clone
