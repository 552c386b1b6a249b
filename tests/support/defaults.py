"""Any node of the host with its default inputs, wired to a scene."""

from collections.abc import Callable
from typing import Any

from scene import Scene

WIRES = {"MODEL", "CONDITIONING", "LATENT", "SIGMAS"}
# Where a node states no default.
VALUES: dict[str, Any] = {"INT": 1, "FLOAT": 1.0, "STRING": "", "BOOLEAN": False}


def inputs_of(info: dict[str, Any]) -> dict[str, tuple[bool, Any, dict[str, Any]]]:
    """Whether it is required, the type and the options of each input of a node."""
    return {
        name: (group == "required", spec[0], spec[1] if len(spec) > 1 else {})
        for group in ("required", "optional")
        for name, spec in info["input"].get(group, {}).items()
    }


def takes_our_wires(info: dict[str, Any]) -> bool:
    return any(str(kind) in WIRES for _, kind, _ in inputs_of(info).values())


def default_inputs(scene: Scene, info: dict[str, Any]) -> dict[str, Any] | None:
    """Inputs by name; None where the node needs what a scene has not."""
    given: dict[str, Any] = {}
    for name, (required, kind, options) in inputs_of(info).items():
        value = _wire(scene, str(kind), name) or _value(scene, kind, name, options)
        if value is not None:
            given[name] = value
        elif required:
            return None
    return given


def _wire(scene: Scene, kind: str, name: str) -> Any:
    prompts = {"pos": scene.positive, "neg": scene.negative}
    makers: dict[str, Callable[[], Any]] = {
        "MODEL": lambda: scene.model,
        "CONDITIONING": lambda: prompts.get(name[:3]) or _third_prompt(scene, name),
        "LATENT": lambda: scene.latent,
        "SIGMAS": lambda: scene.sigmas(1, denoise=0.5),
        "VAE": lambda: scene.vae,
        "CLIP": lambda: scene.clip,
        "CLIP_VISION": lambda: scene.clip_vision,
        "CLIP_VISION_OUTPUT": lambda: scene.encoded[0],
        "IMAGE": lambda: scene.picture,
        "SAMPLER": scene.sampler,
        "GUIDER": scene.cfg_guider,
        "NOISE": scene.unit_noise,
        "MASK": lambda: scene.graph.add(
            "SolidMask", value=1.0, width=scene.size, height=scene.size
        )[0],
    }
    return makers[kind]() if kind in makers else None


def _third_prompt(scene: Scene, name: str) -> Any:
    if not name.startswith("empty"):
        return scene.positive
    return scene.graph.add("ConditioningZeroOut", conditioning=scene.positive)[0]


def _value(scene: Scene, kind: Any, name: str, options: dict[str, Any]) -> Any:
    choices = options.get("options", kind if isinstance(kind, list) else None)
    if choices is not None:
        return options.get("default", choices[0] if choices else None)
    if kind == "INT" and name in ("width", "height"):
        return max(scene.size, options.get("min", 0))
    return options.get("default", VALUES.get(str(kind)))
