"""Changes the settings of a prompt made from one of our workflows: image, words, size, seed ..."""

from collections.abc import Mapping, Sequence
from typing import Any

from .workflow_api import WorkflowError

LOADER = "DynamiCrafterCheckpointLoader"
DETAIL = "DynamiCrafterVisualDetailGuidance"
SCHEDULE = "DynamiCrafterPromptSchedule"
EXTEND = "DynamiCrafterExtend"
SHOT = "DynamiCrafterShot"
STORYBOARD = "DynamiCrafterStoryboard"
CAMERA, DRAG = "DynamiCrafterCameraMotion", "DynamiCrafterDragMotion"
FOLLOW = "DynamiCrafterReferenceMotion"
# Where a prompt's words stand, by node type.
WORDS: Mapping[str, str] = {"CLIPTextEncode": "text", SCHEDULE: "prompts", SHOT: "prompt"}
# What a setting is called, by node type; the first input named is set unless it is a link.
INPUTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "checkpoint": ((LOADER, "ckpt_name"),),
    "seed": (
        ("DynamiCrafterSampler", "seed"),
        (STORYBOARD, "seed"),
        ("RandomNoise", "noise_seed"),
        ("KSampler", "seed"),
        ("KSamplerAdvanced", "noise_seed"),
    ),
    "steps": (
        ("DynamiCrafterSampler", "steps"),
        (STORYBOARD, "steps"),
        ("DynamiCrafterScheduler", "steps"),
        ("BasicScheduler", "steps"),
        ("KSampler", "steps"),
        ("KSamplerAdvanced", "steps"),
    ),
    "cfg": (
        ("DynamiCrafterSampler", "cfg"),
        ("DynamiCrafterGuider", "cfg"),
        (STORYBOARD, "cfg"),
        ("KSampler", "cfg"),
        ("KSamplerAdvanced", "cfg"),
        ("CFGGuider", "cfg"),
    ),
    "image_cfg": (("DynamiCrafterSampler", "image_cfg"),),
    "weight_dtype": ((LOADER, "weight_dtype"),),
    "scale_by": (("ImageScaleBy", "scale_by"),),
    "width": (
        (DETAIL, "width"),
        ("DynamiCrafterEmptyVideo", "width"),
        (STORYBOARD, "width"),
        (CAMERA, "width"),
        (DRAG, "width"),
    ),
    "height": (
        (DETAIL, "height"),
        ("DynamiCrafterEmptyVideo", "height"),
        (STORYBOARD, "height"),
        (CAMERA, "height"),
        (DRAG, "height"),
    ),
    "weak_timestep": ((FOLLOW, "weak_timestep"),),
    "strong_timestep": ((FOLLOW, "strong_timestep"),),
    "frames": (
        (DETAIL, "length"),
        ("DynamiCrafterEmptyVideo", "length"),
        (SCHEDULE, "length"),
        (EXTEND, "length"),
        (SHOT, "length"),
        (CAMERA, "length"),
        (DRAG, "length"),
    ),
    "fps": (
        (DETAIL, "fps"),
        ("DynamiCrafterEmptyVideo", "fps"),
        (EXTEND, "fps"),
        (SHOT, "fps"),
    ),
}

Prompt = dict[str, dict[str, Any]]


def set_value(prompt: Prompt, setting: str, value: Any) -> None:
    """Sets one of INPUTS. Raises WorkflowError when the workflow has no such setting."""
    found = False
    for node in prompt.values():
        for node_type, name in INPUTS[setting]:
            if node["class_type"] == node_type and not isinstance(node["inputs"].get(name), list):
                node["inputs"][name] = value
                found = True
    if not found:
        types = " or ".join(node_type for node_type, _ in INPUTS[setting])
        raise WorkflowError(
            f"The workflow has no setting for --{setting}: it would need a {types} node."
        )


def set_words(prompt: Prompt, text: str) -> None:
    """Sets the words of the positive prompt, or of a storyboard's first shot."""
    writer = _first_shot(prompt)
    for node_id, node in prompt.items():
        if writer is None and "positive" in node["inputs"]:
            writer = _upwards(prompt, node_id, "positive", *WORDS)
    if writer is None:
        raise WorkflowError("The workflow has no setting for --prompt: no positive CLIPTextEncode.")
    node = prompt[writer]
    node["inputs"][WORDS[node["class_type"]]] = text


def set_image(prompt: Prompt, name: str) -> None:
    """Sets the uploaded picture that the video starts from."""
    start = _first_shot(prompt) or _detail(prompt, "image")
    loader = _upwards(prompt, start, "image", "LoadImage")
    if loader is None:
        raise WorkflowError("The workflow has no setting for --image: no LoadImage feeds it.")
    prompt[loader]["inputs"]["image"] = name


def set_all_words(prompt: Prompt, texts: Sequence[str]) -> None:
    """Sets every prompt that says something, in the workflow's order; the last text repeats."""
    for number, node in enumerate(_in_order(prompt, *WORDS)):
        node["inputs"][WORDS[node["class_type"]]] = texts[min(number, len(texts) - 1)]


def set_all_pictures(prompt: Prompt, names: Sequence[str]) -> None:
    """Sets every picture that the workflow loads, in its order; the last name repeats."""
    for number, node in enumerate(_in_order(prompt, "LoadImage")):
        node["inputs"]["image"] = names[min(number, len(names) - 1)]


def _in_order(prompt: Prompt, *types: str) -> list[dict[str, Any]]:
    """Nodes of these types in the order of their ids, without empty prompts."""
    found = [(key, node) for key, node in prompt.items() if node["class_type"] in types]
    found = [(k, n) for k, n in found if n["inputs"].get(WORDS.get(n["class_type"], ""), "-")]
    return [node for _, node in sorted(found, key=lambda e: [int(i) for i in e[0].split(":")])]


def pictures(prompt: Prompt) -> set[str]:
    """Names of the pictures that the prompt loads."""
    loaders = (node for node in prompt.values() if node["class_type"] == "LoadImage")
    return {node["inputs"]["image"] for node in loaders}


def set_end_image(prompt: Prompt, name: str) -> None:
    """Sets the uploaded picture that the video ends at, and interpolates to it."""
    detail_id = _detail(prompt, "end-image")
    detail = prompt[detail_id]
    loader = _upwards(prompt, detail_id, "end_image", "LoadImage")
    if loader is None:
        prompt["end_image"] = {
            "class_type": "LoadImage",
            "inputs": {"image": name},
            "_meta": {"title": "End image"},
        }
        detail["inputs"]["end_image"] = ["end_image", 0]
    else:
        prompt[loader]["inputs"]["image"] = name
    if detail["inputs"].get("mode") == "animate":
        detail["inputs"]["mode"] = "interpolate"


def _detail(prompt: Prompt, setting: str) -> str:
    for node_id, node in prompt.items():
        if node["class_type"] == DETAIL:
            return node_id
    raise WorkflowError(f"The workflow has no setting for --{setting}: no {DETAIL} node.")


def _first_shot(prompt: Prompt) -> str | None:
    """The first of the shots that a storyboard's `shots` links lead to, or None."""
    storyboards = (key for key, node in prompt.items() if node["class_type"] == STORYBOARD)
    current, first = next(storyboards, None), None
    while current is not None:
        first, current = current, _upwards(prompt, current, "shots", SHOT)
    return first


def _upwards(prompt: Prompt, node_id: str, name: str, *wanted: str) -> str | None:
    """The nearest node of the wanted types along links into inputs called `name`, or None."""
    seen = set()
    while node_id not in seen:
        seen.add(node_id)
        link = prompt[node_id]["inputs"].get(name)
        if not isinstance(link, list):
            return None
        node_id = link[0]
        if prompt[node_id]["class_type"] in wanted:
            return node_id
    return None
