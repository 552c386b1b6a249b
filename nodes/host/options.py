"""Settings of a MODEL for its network, which stock samplers hand through."""

from typing import Any


def transformer_option(model: Any, key: str) -> Any:
    """What a MODEL has under `key`, or None."""
    return model.model_options.get("transformer_options", {}).get(key)


def with_transformer_option(model: Any, key: str, value: Any) -> Any:
    """A clone of a MODEL with `value` under `key`; the given one stays as it is."""
    clone = model.clone()
    options = {**clone.model_options.get("transformer_options", {}), key: value}
    clone.model_options["transformer_options"] = options
    return clone
