"""A running server with the pack, and short ways to build the usual graphs on it."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest
import small_checkpoint
import torch
from comfyui.client import PromptError
from comfyui.server import ComfyServer
from graphs import Graph, Link, Node
from safetensors.torch import load_file, save
from torch import Tensor

# Seconds after which a prompt counts as hung, on a machine as busy as may be.
PATIENCE = 1800.0


class Studio:
    """A running server with the pack, and short ways to give it tensors and take them back."""

    def __init__(self, server: ComfyServer, golden: Path):
        self.server, self.golden = server, golden

    @property
    def checkpoints(self) -> Path:
        return self.server.base / "models" / "checkpoints"

    def checkpoint(self, case: str, *, suffix: str = ".safetensors", **options: bool) -> str:
        """Name of a golden case's tiny checkpoint, written on first use."""
        marks = "".join(f"-{k}" for k, on in options.items() if on)
        name = f"{case}{marks}{suffix}"
        if not (self.checkpoints / name).exists():
            case_file = self.golden / "pipeline" / f"{case}.json"
            small_checkpoint.write_golden(case_file, self.checkpoints / name, **options)
        return name

    def small_checkpoint(
        self,
        variant: str = "512",
        *,
        seed: int = 0,
        name: str = "",
        edit: small_checkpoint.Edit | None = None,
        stated: bool = True,
        wide: bool = False,
    ) -> str:
        """Name of a small checkpoint for quick runs, written on first use.

        edit: changes the tensors before they are written; stated: whether the file names its
        variant. A file that deviates needs a `name` of its own. wide: fits a stock ControlNet.
        """
        file = f"small-{variant}-{seed}{'-wide' if wide else ''}{name}.safetensors"
        if not (self.checkpoints / file).exists():
            lender = self.golden / "pipeline" / "512_frames8.json"
            path = self.checkpoints / file
            small_checkpoint.write(
                lender, path, variant, seed=seed, edit=edit, stated=stated, wide=wide
            )
        return file

    def put(self, **tensors: Tensor) -> str:
        """Name of an input file with these tensors, for the Test... nodes.

        Equal tensors get one name, so the server reuses what it made of them.
        """
        data = save({k: v.contiguous() for k, v in tensors.items()})
        name = f"{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
        path = self.server.base / "input" / name
        if not path.exists():  # the server may be reading it
            path.write_bytes(data)
        return name

    def run(self, graph: Graph, **values: Link) -> dict[str, dict[str, Tensor]]:
        """Run the graph; the tensors inside each of `values`, keyed by path ("value.samples")."""
        names = {}
        for key, link in values.items():
            names[key] = f"{key}-{uuid.uuid4().hex}"
            graph.add("TestSave", value=link, name=names[key])
        self.server.prompt(graph.prompt, timeout=PATIENCE)
        results = {}
        for key, name in names.items():
            path = self.server.base / "output" / f"{name}.safetensors"
            results[key] = load_file(path)
            path.unlink()
        return results

    def error(self, graph: Graph, *outputs: Link) -> str:
        """The message with which the server refuses or fails the graph."""
        for link in outputs:
            graph.add("TestSave", value=link, name="unused")
        with pytest.raises(PromptError) as caught:
            self.server.prompt(graph.prompt, timeout=PATIENCE)
        return str(caught.value)

    def forget(self) -> None:
        """Unload the models and forget cached results, before anything else runs."""
        self.server.free_memory()
        graph = Graph()
        self.run(graph, nothing=self.latent(graph, torch.zeros(1, 4, 1, 1)))

    def image(self, graph: Graph, image: Tensor) -> Link:
        """IMAGE `[B, H, W, 3]` in [0, 1]."""
        return graph.add("TestLoadImage", file=self.put(image=image), key="image")[0]

    def noise(self, graph: Graph, noise: Tensor) -> Link:
        """NOISE `[N*T, 4, h, w]`."""
        return graph.add("TestNoise", file=self.put(noise=noise), key="noise")[0]

    def latent(self, graph: Graph, samples: Tensor, num_frames: int = 0) -> Link:
        """LATENT `[N*T, 4, h, w]`."""
        file = self.put(samples=samples)
        return graph.add("TestLoadLatent", file=file, key="samples", num_frames=num_frames)[0]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of `expected`."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float((found.double() - expected.double()).norm() / expected.double().norm())


class Animation:
    """The usual graph up to the sampler, from a loaded checkpoint."""

    def __init__(self, studio: Studio, graph: Graph, checkpoint: str, **loader: Any):
        self.studio, self.graph = studio, graph
        options = {"variant": "auto", "weight_dtype": "fp32", **loader}
        loaded = graph.add("DynamiCrafterCheckpointLoader", ckpt_name=checkpoint, **options)
        self.model, self.clip, self.vae, self.clip_vision, self.projector = (
            loaded[i] for i in range(5)
        )
        self.positive: Any = None
        self.negative: Any = None
        self.image_only: Any = None
        self.latent: Any = None

    def text(self, positive: str, negative: str = "") -> "Animation":
        encode = lambda text: self.graph.add("CLIPTextEncode", clip=self.clip, text=text)[0]  # noqa: E731
        self.positive, self.negative = encode(positive), encode(negative)
        return self

    def context(self, image: Link, frame_tokens: str = "auto", fit: str = "stretch") -> "Animation":
        encoded = self.graph.add(
            "DynamiCrafterContextEncode", clip_vision=self.clip_vision, image=image, fit=fit
        )
        projected = self.graph.add(
            "DynamiCrafterContextProjection",
            positive=self.positive,
            negative=self.negative,
            projector=self.projector,
            clip_vision_output=encoded[0],
            null_clip_vision_output=encoded[1],
            frame_tokens=frame_tokens,
        )
        self.positive, self.negative, self.image_only = (projected[i] for i in range(3))
        self.encoded: Node = encoded
        return self

    def detail(self, image: Link, width: int, height: int, length: int = 16, **options: Any):
        settings = {"batch_size": 1, "mode": "animate", "fps": 0, "fit": "crop", **options}
        guided = self.graph.add(
            "DynamiCrafterVisualDetailGuidance",
            positive=self.positive,
            negative=self.negative,
            image_only=self.image_only,
            vae=self.vae,
            image=image,
            width=width,
            height=height,
            length=length,
            **settings,
        )
        self.positive, self.negative, self.image_only, self.latent = (guided[i] for i in range(4))
        return self

    def extend(self, images: Link, length: int, overlap: int, fps: int = 0, **more: Any) -> Node:
        """Extend Video, whose conditionings and latent come next."""
        node = self.graph.add(
            "DynamiCrafterExtend",
            positive=self.positive,
            negative=self.negative,
            vae=self.vae,
            images=images,
            length=length,
            overlap=overlap,
            fps=fps,
            **more,
        )
        self.positive, self.negative, self.latent = node[0], node[1], node[3]
        return node

    def empty(self, size: int, length: int) -> None:
        """Empty Video, for models that get no image beside the noise."""
        timed = self.graph.add(
            "DynamiCrafterEmptyVideo",
            positive=self.positive,
            negative=self.negative,
            width=size,
            height=size,
            length=length,
            batch_size=1,
            fps=0,
        )
        self.positive, self.negative, self.latent = (timed[i] for i in range(3))

    def sample(self, **options: Any) -> Link:
        settings = {
            "seed": 1,
            "steps": 2,
            "cfg": 7.5,
            "image_cfg": 7.5,
            "eta": 0.0,
            "spacing": "auto",
            "guidance_rescale": -1.0,
            "ending": "clean",
            "start_timestep": 1000,
            "denoise": 1.0,
            **options,
        }
        return self.graph.add(
            "DynamiCrafterSampler",
            model=self.model,
            positive=self.positive,
            negative=self.negative,
            latent=self.latent,
            **settings,
        )[0]

    def decode(self, latent: Link, **options: Any) -> Node:
        """Video Decode, of whole frames at once unless the options say otherwise."""
        settings = {"chunk_frames": 0, "tile_size": 0, "drop_last_frame": False, **options}
        return self.graph.add("DynamiCrafterVideoDecode", vae=self.vae, samples=latent, **settings)

    def schedule(self, prompts: str, length: int, blend_frames: int = 0) -> Link:
        """CONDITIONING of a Prompt Schedule."""
        return self.graph.add(
            "DynamiCrafterPromptSchedule",
            clip=self.clip,
            prompts=prompts,
            length=length,
            blend_frames=blend_frames,
        )[0]

    def guider(self, **options: Any) -> Link:
        settings = {"cfg": 7.5, "image_cfg": 7.5, "guidance_rescale": -1.0, **options}
        return self.graph.add(
            "DynamiCrafterGuider",
            model=self.model,
            positive=self.positive,
            negative=self.negative,
            **settings,
        )[0]

    def scheduler(self, **options: Any) -> Link:
        settings = {
            "steps": 2,
            "spacing": "auto",
            "denoise": 1.0,
            "ending": "clean",
            "start_timestep": 1000,
            **options,
        }
        return self.graph.add("DynamiCrafterScheduler", model=self.model, **settings)[0]

    def sample_custom(
        self, noise: Link, guider: Link, sampler: Link, sigmas: Link, latent: Link | None = None
    ) -> Link:
        return self.graph.add(
            "SamplerCustomAdvanced",
            noise=noise,
            guider=guider,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent or self.latent,
        )[0]


def picture(height: int, width: int, phase: float = 0.0) -> Tensor:
    """A smooth coloured picture `[1, H, W, 3]` in [0, 1]."""
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None, :]
    waves = [torch.sin(6.3 * (a * x + b * y) + phase) for a, b in ((1, 2), (2, -1), (-1, 1))]
    return (torch.stack(waves, dim=-1) * 0.5 + 0.5)[None]
