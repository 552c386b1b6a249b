"""Any node of the host with its default inputs, wired to a scene."""

from collections.abc import Callable, Iterator
from typing import Any

from graphs import Node
from scene import Scene, unit_noise
from studio import picture

WIRES = {"MODEL", "CONDITIONING", "LATENT", "SIGMAS"}
# Where a node states no default.
VALUES: dict[str, Any] = {"INT": 1, "FLOAT": 1.0, "STRING": "", "BOOLEAN": False}
# Files that a test puts into the server's folders, by the input that names them.
FILES = {
    "control_net_name": "sweep-control.safetensors",
    "hypernetwork_name": "sweep.pt",
    "lora_name": "sweep-lora.safetensors",
}
# Outputs of TestParts.
PARTS = (
    "MODEL_PATCH",
    "STYLE_MODEL",
    "GLIGEN",
    "LATENT_UPSCALE_MODEL",
    "AUDIO_ENCODER_OUTPUT",
    "LORA_MODEL",
)


def inputs_of(info: dict[str, Any]) -> dict[str, tuple[bool, Any, dict[str, Any]]]:
    """Whether it is required, the type and the options of each input of a node."""
    return {
        name: (group == "required", spec[0], spec[1] if len(spec) > 1 else {})
        for group in ("required", "optional")
        for name, spec in info["input"].get(group, {}).items()
    }


def takes_our_wires(info: dict[str, Any]) -> bool:
    return any(str(kind) in WIRES for _, kind, _ in inputs_of(info).values())


class Wires:
    """What a scene can give to a node, made when first asked for."""

    def __init__(self, scene: Scene, other: Scene):
        self.scene, self.other = scene, other
        self._made: dict[str, Any] = {}

    def defaults(self, info: dict[str, Any]) -> dict[str, Any]:
        """Inputs by name; ValueError where a node needs what no scene has."""
        return dict(self._inputs(info))

    def _inputs(self, info: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, (required, kind, options) in inputs_of(info).items():
            if str(kind).startswith("COMFY_AUTOGROW"):
                template = options["template"]
                (inner, spec), *_ = template["input"]["required"].items()
                first = template["names"][0] if "names" in template else f"{template['prefix']}0"
                yield f"{name}.{first}", self._wire(str(spec[0]), inner)
                continue
            value = self._wire(str(kind), name) or self._value(kind, name, options)
            if value is not None:
                yield name, value
            elif required:
                raise ValueError(f"{name} is a {kind}")

    def _wire(self, kind: str, name: str) -> Any:
        """The output for an input of this type; a model2 is another model than model1."""
        key = f"{kind} {name}" if kind in ("MODEL", "CONDITIONING") else kind
        if key not in self._made:
            self._made[key] = self._made_for(kind, name)
        return self._made[key]

    def _made_for(self, kind: str, name: str) -> Any:
        scene, add = self.scene, self.scene.graph.add
        makers: dict[str, Callable[[], Any]] = {
            "MODEL": lambda: self.other.model if name == "model2" else scene.model,
            "CONDITIONING": lambda: self._prompt(name),
            "LATENT": self._latent,
            "SIGMAS": lambda: scene.sigmas(1, denoise=0.5),
            "VAE": lambda: scene.vae,
            "CLIP": lambda: scene.clip,
            "CLIP_VISION": lambda: scene.clip_vision,
            "CLIP_VISION_OUTPUT": lambda: scene.encoded[0],
            "IMAGE": lambda: scene.studio.image(scene.graph, picture(scene.size, scene.size, 2.0)),
            "SAMPLER": scene.sampler,
            "GUIDER": scene.cfg_guider,
            "NOISE": scene.unit_noise,
            "MASK": lambda: add("SolidMask", value=1.0, width=scene.size, height=scene.size)[0],
            "CONTROL_NET": lambda: add("TestControlNet")[0],
            "LATENT_OPERATION": lambda: add(
                "LatentOperationSharpen", sharpen_radius=1, sigma=1.0, alpha=0.5
            )[0],
            "AUDIO": lambda: add("EmptyAudio", duration=0.1, sample_rate=8000, channels=2)[0],
        }
        if kind in PARTS:
            return self._parts()[PARTS.index(kind)]
        return makers[kind]() if kind in makers else None

    def _latent(self) -> Any:
        """Of a video, not of zeros."""
        samples = unit_noise(5, frames=self.scene.frames, size=self.scene.size)
        return self.scene.studio.latent(self.scene.graph, samples, self.scene.frames)

    def _parts(self) -> Node:
        if "parts" not in self._made:
            self._made["parts"] = self.scene.graph.add("TestParts")
        return self._made["parts"]

    def _prompt(self, name: str) -> Any:
        if name.startswith("empty"):
            given = self.scene.positive
            return self.scene.graph.add("ConditioningZeroOut", conditioning=given)[0]
        return self.scene.negative if name.startswith("neg") else self.scene.positive

    def _value(self, kind: Any, name: str, options: dict[str, Any]) -> Any:
        if name in FILES:
            return FILES[name]
        choices = options.get("options", kind if isinstance(kind, list) else None)
        if choices is not None:
            first = choices[0] if choices else None
            return options.get("default", first["key"] if isinstance(first, dict) else first)
        if kind == "INT" and name in ("width", "height"):
            return max(self.scene.size, options.get("min", 0))
        return options.get("default", VALUES.get(str(kind)))
