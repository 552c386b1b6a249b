"""Where a picture, a prompt, a seed and a size go into a workflow's API form."""

import copy
from collections.abc import Mapping
from typing import Any

from dc_model.shown import shown

from .base import SystemStopped

Prompt = dict[str, dict[str, Any]]

LOADERS = ("LoadImage", "LoadImageOutput", "ETN_LoadImageBase64")
TEXTS = ("text", "prompt", "prompts", "positive_prompt")
SEEDS = ("seed", "noise_seed")
LENGTHS = ("length", "num_frames", "video_frames", "frames")
WANTED = {
    "picture": "a LoadImage node",
    "prompt": "a text that leads to an input called positive",
}


def find_places(prompt: Prompt, given: Mapping[str, str]) -> dict[str, list[str]]:
    """NODE.INPUT of each thing; several where it is set in several nodes.

    Raises SystemStopped for a place that is not there, and where the picture or the prompt has none
    or more than one.
    """
    for what, place in given.items():
        node, _, name = place.partition(".")
        if node not in prompt or name not in prompt[node].get("inputs", {}):
            raise SystemStopped(
                f"places.{what} is '{shown(place)}'; the workflow has no such node and "
                "input; choose one of its own."
            )
    found = {
        "picture": [f"{key}.image" for key, node in prompt.items() if _is_loader(node)],
        "prompt": _texts(prompt),
        "seed": [f"{k}.{n}" for n in SEEDS for k, v in prompt.items() if _plain(v, n)],
        "width": _sizes(prompt, "width"),
        "height": _sizes(prompt, "height"),
        "frames": [f"{k}.{n}" for n in LENGTHS for k, v in prompt.items() if _plain(v, n)],
    }
    found |= {what: [place] for what, place in given.items()}
    for what, wanted in WANTED.items():
        if len(found[what]) != 1:
            count = "none" if not found[what] else f"{len(found[what])}: {', '.join(found[what])}"
            raise SystemStopped(
                f"The workflow needs {wanted} for the {what} and has {shown(count)}; set "
                f"places.{what} to NODE.INPUT."
            )
    return found


def set_places(
    prompt: Prompt,
    places: Mapping[str, list[str]],
    values: Mapping[str, Any],
    further: Mapping[str, Any],
) -> Prompt:
    """A copy of the prompt with these values. Raises SystemStopped for an unknown node."""
    filled = copy.deepcopy(prompt)
    pairs = [(place, values[what]) for what, listed in places.items() for place in listed]
    for place, value in [*pairs, *further.items()]:
        node, _, name = place.partition(".")
        if node not in filled:
            raise SystemStopped(
                f"values has '{shown(place)}'; the workflow has no node {shown(node)}; "
                "choose one of its own."
            )
        filled[node]["inputs"][name] = value
    return filled


def _is_loader(node: Mapping[str, Any]) -> bool:
    return node["class_type"] in LOADERS


def _plain(node: Mapping[str, Any], name: str) -> bool:
    """Whether an input is a number of the node's own, not a link."""
    value = node.get("inputs", {}).get(name)
    return isinstance(value, int) and not isinstance(value, bool)


def _sizes(prompt: Prompt, name: str) -> list[str]:
    both = (k for k, node in prompt.items() if _plain(node, "width") and _plain(node, "height"))
    return [f"{key}.{name}" for key in both]


def _texts(prompt: Prompt) -> list[str]:
    """The text that feeds `positive`; where nothing is called so, every text that is not empty."""
    starts = [node["inputs"]["positive"] for node in prompt.values() if _link(node, "positive")]
    led = {place for start in starts if (place := _upwards(prompt, start[0]))}
    if led:
        return sorted(led)
    own = ((k, n, node["inputs"].get(n)) for k, node in prompt.items() for n in TEXTS)
    return [f"{key}.{name}" for key, name, value in own if isinstance(value, str) and value.strip()]


def _link(node: Mapping[str, Any], name: str) -> bool:
    return isinstance(node.get("inputs", {}).get(name), list)


def _upwards(prompt: Prompt, start: str) -> str | None:
    """The nearest text above a node; of a node that takes both, the positive side alone."""
    waiting, seen = [start], set()
    while waiting:
        key = waiting.pop(0)
        if key in seen or key not in prompt:
            continue
        seen.add(key)
        inputs = prompt[key].get("inputs", {})
        for name in TEXTS:
            if isinstance(inputs.get(name), str):
                return f"{key}.{name}"
        links = {name: value[0] for name, value in inputs.items() if isinstance(value, list)}
        waiting += [links["positive"]] if "positive" in links else list(links.values())
    return None
