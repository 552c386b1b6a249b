"""Nodes that exist for the tests only: tensors in, tensors out, and random draws from a file."""

import copy
import gc
from pathlib import Path
from typing import Any

import comfy.k_diffusion.sampling
import comfy.patcher_extension
import folder_paths
import torch
from comfy_api.latest import ComfyExtension, io
from safetensors.torch import save_file

from . import audit
from .common import ANY, file_inputs, read_input, schema
from .controls import TestControlNet
from .fast_fp8 import TestFastFP8
from .hold import TestHold
from .hostile import TestHostile
from .in_use import add_routes
from .on_card import TestOnCard
from .one_tokenizer import keep_tokenizer
from .parts import TestParts
from .peak import TestPeakMemory
from .rows import TestCountRows, TestRowsSeen, TestTextRows
from .vae_calls import TestCallsSeen, TestWatchVAE


class TestLoadImage(io.ComfyNode):
    """IMAGE from a tensor, without a picture file's 8 bits."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestLoadImage", file_inputs(), [io.Image.Output()])

    @classmethod
    def execute(cls, file: str, key: str) -> io.NodeOutput:
        return io.NodeOutput(read_input(file, key))


class TestLoadLatent(io.ComfyNode):
    """LATENT from a tensor `[N*T, 4, h, w]`; num_frames 0 leaves the number of frames out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestLoadLatent", [*file_inputs(), io.Int.Input("num_frames")], [io.Latent.Output()]
        )

    @classmethod
    def execute(cls, file: str, key: str, num_frames: int) -> io.NodeOutput:
        latent: dict[str, Any] = {"samples": read_input(file, key)}
        return io.NodeOutput({**latent, "num_frames": num_frames} if num_frames else latent)


class _FixedNoise:
    def __init__(self, noise: torch.Tensor, seed: int):
        self.noise, self.seed = noise, seed

    def generate_noise(self, input_latent: dict[str, Any]) -> torch.Tensor:
        assert self.noise.shape == input_latent["samples"].shape
        return self.noise.clone()


class TestNoise(io.ComfyNode):
    """NOISE from a tensor `[N*T, 4, h, w]`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestNoise", file_inputs(), [io.Noise.Output()])

    @classmethod
    def execute(cls, file: str, key: str) -> io.NodeOutput:
        return io.NodeOutput(_FixedNoise(read_input(file, key), seed=0))


class TestDrawNoise(io.ComfyNode):
    """What a NOISE draws for a LATENT, as a LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestDrawNoise",
            [io.Noise.Input("noise"), io.Latent.Input("latent")],
            [io.Latent.Output()],
        )

    @classmethod
    def execute(cls, noise: Any, latent: dict[str, Any]) -> io.NodeOutput:
        return io.NodeOutput({**latent, "samples": noise.generate_noise(latent)})


class _ScarceMemory:
    """A dual-reference network on a card that holds a few frames only."""

    def __init__(self, network: Any, frames: int):
        self.network, self.frames = network, frames

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def decode_published(self, latents: Any, references: Any, chunk_frames: int) -> torch.Tensor:
        self._take(chunk_frames)
        return self.network.decode_published(latents, references, chunk_frames)

    def decode(self, latents: Any, references: Any, chunk_frames: int) -> torch.Tensor:
        self._take(chunk_frames)
        return self.network.decode(latents, references, chunk_frames)

    def _take(self, frames: int) -> None:
        if frames > self.frames:
            raise torch.cuda.OutOfMemoryError("as on a small card")


class TestScarceMemory(io.ComfyNode):
    """A ToonCrafter VAE that runs out of memory when it decodes more than `frames` at once."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestScarceMemory", [io.Vae.Input("vae"), io.Int.Input("frames")], [io.Vae.Output()]
        )

    @classmethod
    def execute(cls, vae: Any, frames: int) -> io.NodeOutput:
        scarce = copy.copy(vae)
        scarce.first_stage_model = _ScarceMemory(vae.first_stage_model, frames)
        return io.NodeOutput(scarce)


class _StepNoise:
    """A wrapper around a sampling run, in which every sampler draws what was recorded."""

    def __init__(self, draws: torch.Tensor):
        self.draws = draws

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        stock = comfy.k_diffusion.sampling.default_noise_sampler
        comfy.k_diffusion.sampling.default_noise_sampler = self.noise_sampler
        try:
            return executor(*args, **kwargs)
        finally:
            comfy.k_diffusion.sampling.default_noise_sampler = stock

    def noise_sampler(self, x: torch.Tensor, **_: Any) -> Any:
        remaining = iter(self.draws)
        return lambda *_: next(remaining).to(x)


class TestStepNoise(io.ComfyNode):
    """Passes a MODEL on and makes each step's fresh noise come from a tensor `[S, N*T, 4, h, w]`.

    Without a file's name the model keeps the host's own draws.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestStepNoise", [io.Model.Input("model"), *file_inputs()], [io.Model.Output()]
        )

    @classmethod
    def execute(cls, model: Any, file: str, key: str) -> io.NodeOutput:
        if not file:
            return io.NodeOutput(model)
        clone = model.clone()
        kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
        clone.add_wrapper_with_key(kind, "step noise", _StepNoise(read_input(file, key)))
        return io.NodeOutput(clone)


class TestTokenize(io.ComfyNode):
    """Token ids of a prompt, as nested lists."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestTokenize", [io.Clip.Input("clip"), io.String.Input("text")], [ANY.Output()]
        )

    @classmethod
    def execute(cls, clip: Any, text: str) -> io.NodeOutput:
        return io.NodeOutput([[t for t, *_ in row] for row in clip.tokenize(text)["h"]])


class TestEncodeTokens(io.ComfyNode):
    """Text embedding of token ids `[B, 77]` from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestEncodeTokens", [io.Clip.Input("clip"), *file_inputs()], [ANY.Output()])

    @classmethod
    def execute(cls, clip: Any, file: str, key: str) -> io.NodeOutput:
        rows = read_input(file, key).tolist()
        embeddings = [
            clip.encode_from_tokens({"h": [[(token, 1.0) for token in row]]}) for row in rows
        ]
        return io.NodeOutput(torch.cat(embeddings))


class TestSetConditioning(io.ComfyNode):
    """Puts a tensor into a CONDITIONING's dict."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestSetConditioning",
            [io.Conditioning.Input("conditioning"), *file_inputs(), io.String.Input("name")],
            [io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, conditioning: Any, file: str, key: str, name: str) -> io.NodeOutput:
        value = read_input(file, key)
        return io.NodeOutput([[text, {**values, name: value}] for text, values in conditioning])


class TestSave(io.ComfyNode):
    """Writes the tensors inside any value to `output/NAME.safetensors`, keys by path."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestSave",
            [ANY.Input("value"), io.String.Input("name")],
            [],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, value: Any, name: str) -> io.NodeOutput:
        tensors: dict[str, torch.Tensor] = {}
        _collect(value, "value", tensors)
        save_file(tensors, Path(folder_paths.get_output_directory()) / f"{name}.safetensors")
        return io.NodeOutput()

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return float("nan")


def _collect(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
    elif isinstance(value, bool | int | float):
        tensors[path] = torch.tensor(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(item, f"{path}.{key}", tensors)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _collect(item, f"{path}.{i}", tensors)
    elif type(value).__name__ == "Output":
        _collect(vars(value), path, tensors)


class TestPackExtension(ComfyExtension):
    """The support pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            TestControlNet,
            TestLoadImage,
            TestLoadLatent,
            TestNoise,
            TestDrawNoise,
            TestScarceMemory,
            TestStepNoise,
            TestTokenize,
            TestEncodeTokens,
            TestSetConditioning,
            TestHold,
            TestHostile,
            TestOnCard,
            TestParts,
            TestFastFP8,
            TestPeakMemory,
            TestWatchVAE,
            TestCallsSeen,
            TestCountRows,
            TestRowsSeen,
            TestTextRows,
            TestSave,
        ]


async def comfy_entrypoint() -> TestPackExtension:
    add_routes()
    audit.listen()
    keep_tokenizer()
    # Whatever is there by now stays. The host looks for garbage among it after every prompt.
    gc.freeze()
    return TestPackExtension()
