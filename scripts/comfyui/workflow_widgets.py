"""The widget values of a saved node, by input name.

A workflow file stores a node's widget values as a bare list, in the order in which the page makes
the widgets: required inputs before optional ones, the inputs of a dynamic combo's chosen option
after the combo, and values between them that belong to no input ("randomize" after a seed, "image"
for an upload button). `/object_info` says which inputs a node has.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
# The inputs that the page shows as widgets; all other types are sockets only.
WIDGET_TYPES = frozenset(
    (
        *("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "MARKDOWN", "TEXTAREA", "COLOR", "COLORS"),
        *("BOUNDING_BOX", "BOUNDING_BOXES", "IMAGECOMPARE", "CHART", "GALLERIA", "PAINTER"),
        *("CURVE", "RANGE"),
    )
)
_AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize", "increment-wrap")
_SEED_NAMES = ("seed", "noise_seed")
_UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload")
_EMPTY: Mapping[str, Any] = {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, "STRING": ""}


def widget_values(node: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets by input name, defaults where the file has none.

    node: a node of a workflow file. info: `/object_info`'s entry for its type.
    """
    stored = node.get("widgets_values")
    values = _Named(stored) if isinstance(stored, Mapping) else _Listed(stored or [])
    found: dict[str, Any] = {}
    for group in ("required", "optional"):
        specs = info.get("input", {}).get(group) or {}
        order = info.get("input_order", {}).get(group, list(specs))
        for name in order:
            found.update(_read(name, specs[name], values, node))
        if any(_options(spec).get(upload) for spec in specs.values() for upload in _UPLOADS):
            values.skip("image")
    return found


def input_type(spec: Sequence[Any]) -> str:
    """The type of an input; COMBO also where the file lists its choices in place of a type."""
    kind = _options(spec).get("widgetType") or spec[0]
    return kind if isinstance(kind, str) else "COMBO"


def is_widget(spec: Sequence[Any]) -> bool:
    """Whether the page shows an input as a widget."""
    return input_type(spec) in WIDGET_TYPES and not _options(spec).get("forceInput")


class _Listed:
    """Values in the order of the widgets."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = list(values)

    def take(self, _name: str, default: Any) -> Any:
        return self._values.pop(0) if self._values else default

    def skip(self, *values: str) -> None:
        if self._values and isinstance(self._values[0], str) and self._values[0] in values:
            self._values.pop(0)


class _Named:
    """Values by widget name, as some node packs store them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def take(self, name: str, default: Any) -> Any:
        return self._values.get(name, default)

    def skip(self, *values: str) -> None:
        """There is nothing between named values."""


def _read(
    name: str, spec: Sequence[Any], values: "_Listed | _Named", node: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    options = _options(spec)
    kind = input_type(spec)
    if kind == DYNAMIC_COMBO:
        choices = {choice["key"]: choice.get("inputs", {}) for choice in options["options"]}
        value = values.take(name, options.get("default", next(iter(choices), None)))
        yield name, value
        for group in ("required", "optional"):
            for below, below_spec in (choices.get(value, {}).get(group) or {}).items():
                yield from _read(f"{name}.{below}", below_spec, values, node)
    elif kind == AUTOGROW:
        for slot, slot_spec in _grown(name, options["template"], node):
            yield from _read(slot, slot_spec, values, node)
    elif is_widget(spec):
        yield name, values.take(name, _default(spec))
        seed = kind == "INT" and name in _SEED_NAMES
        if options.get("control_after_generate", seed):
            values.skip(*_AFTER_GENERATE)


def _grown(
    name: str, template: Mapping[str, Any], node: Mapping[str, Any]
) -> Iterator[tuple[str, Sequence[Any]]]:
    """The widgets that a growing list of inputs has in this node."""
    specs = [s for group in template.get("input", {}).values() for s in group.values()]
    if specs and is_widget(specs[0]):
        for slot in node.get("inputs", []):
            if slot.get("widget") and slot["name"].startswith(name + "."):
                yield slot["name"], specs[0]


def _options(spec: Sequence[Any]) -> Mapping[str, Any]:
    return spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}


def _default(spec: Sequence[Any]) -> Any:
    options = _options(spec)
    if "default" in options:
        return options["default"]
    choices = spec[0] if isinstance(spec[0], list) else options.get("options")
    if choices:
        return choices[0]
    return _EMPTY.get(input_type(spec))
