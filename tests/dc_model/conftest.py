"""Golden items, manifests and a tiny random U-Net for the tests of `dc_model`."""

import functools
import gzip
import json
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import TENSORS
from safetensors.torch import load_file, save_file
from small_archs import small_unet
from torch import Tensor, nn

from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import UNetArch


@dataclass(frozen=True)
class Golden:
    """One golden item: its tensors and its description."""

    tensors: dict[str, Tensor]
    info: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.tensors[name]
        return tensor.float() if tensor.is_floating_point() else tensor

    def get(self, name: str) -> Tensor | None:
        return self[name] if name in self.tensors else None

    def weights(self) -> dict[str, Tensor]:
        """Stored in half or quarter precision, exact once upcast."""
        return {k[2:]: v.float() for k, v in self.tensors.items() if k.startswith("w.")}


@dataclass(frozen=True)
class Manifest:
    """Keys and shapes of a published checkpoint, with the config that it was trained by."""

    keys: dict[str, tuple[int, ...]]
    params: dict[str, Any]

    def part(self, prefix: str) -> dict[str, tuple[int, ...]]:
        return {k.removeprefix(prefix): s for k, s in self.keys.items() if k.startswith(prefix)}

    def buffers(self) -> dict[str, Tensor]:
        """The two schedule buffers that detection reads, as the published code registers them."""
        params = self.params
        start, end = params["linear_start"] ** 0.5, params["linear_end"] ** 0.5
        betas = torch.linspace(start, end, 1000, dtype=torch.float64) ** 2
        root = (1 - betas).cumprod(0).sqrt()
        if params.get("rescale_betas_zero_snr"):
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        found = {"alphas_cumprod": root.square().float()}
        if "scale_arr" in self.keys:
            floor = params.get("base_scale", params.get("scale_b", 0.3))
            length = self.keys["scale_arr"][0]
            falling = torch.linspace(1, floor, 400)
            found["scale_arr"] = torch.cat([falling, torch.full((length - 400,), floor)])
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Meta tensors for everything but the buffers that detection reads."""
        meta = {k: torch.empty(s, device="meta") for k, s in self.keys.items()}
        return {**meta, **self.buffers()}


@pytest.fixture(scope="session")
def load_golden(golden: Path) -> Callable[[str], Golden]:
    """Golden item by name."""

    @functools.cache
    def load(name: str) -> Golden:
        file = golden / "modules" / f"{name}.safetensors"
        return Golden(
            load_file(file), json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        )

    return load


@pytest.fixture(scope="session")
def load_manifest(golden: Path) -> Callable[[str], Manifest]:
    """Manifest by name."""

    @functools.cache
    def load(name: str) -> Manifest:
        found = json.loads(gzip.decompress((golden / "manifests" / f"{name}.json.gz").read_bytes()))
        return Manifest({k: tuple(s) for k, s in found["keys"].items()}, found["params"])

    return load


def randomize(module: nn.Module, seed: int = 0) -> None:
    """N(0, 1/fan_in) everywhere, so no zero-initialised layer hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim > 1:
                p.copy_(noise / math.sqrt(p[0].numel()))
            else:
                p.copy_(0.2 * noise + (name.endswith("weight")))


TINY = small_unet(attention_levels=(True, True), head_dim=8, learnable_image_scale=True)


@pytest.fixture(scope="session")
def tiny_arch() -> UNetArch:
    """A U-Net of two levels with every layer type of the 256 model."""
    return TINY


@pytest.fixture
def tiny_unet() -> DynamiCrafterUNet:
    """A random U-Net of `tiny_arch`, in evaluation mode."""
    unet = DynamiCrafterUNet(TINY)
    randomize(unet)
    return unet.eval()


@dataclass(frozen=True)
class Inputs:
    """Random inputs of a U-Net call."""

    x: Tensor
    timesteps: Tensor
    text: Tensor
    image: Tensor
    speed: Tensor

    def call(self, unet: DynamiCrafterUNet, **changes: Any) -> Tensor:
        """The U-Net's output without gradients; `changes` replace or add arguments."""
        arguments: dict[str, Any] = {
            "x": self.x,
            "timesteps": self.timesteps,
            "context": self.text,
            "image_context": self.image,
            "speed": self.speed,
            **changes,
        }
        with torch.no_grad():
            return unet(**arguments)


@pytest.fixture(scope="session")
def random_inputs() -> Callable[..., Inputs]:
    """Inputs for `tiny_unet` of a given size."""

    def make(
        batch: int = 1,
        frames: int = 4,
        size: tuple[int, int] = (8, 8),
        *,
        text_tokens: int = 77,
        image_tokens: int | None = None,
        seed: int = 1,
    ) -> Inputs:
        g = torch.Generator().manual_seed(seed)
        image = 16 * frames if image_tokens is None else image_tokens
        return Inputs(
            x=torch.randn(batch, TINY.in_channels, frames, *size, generator=g),
            timesteps=torch.randint(0, 1000, (batch,), generator=g),
            text=torch.randn(batch, text_tokens, TINY.context_dim, generator=g),
            image=torch.randn(batch, image, TINY.context_dim, generator=g),
            speed=torch.randint(1, 30, (batch,), generator=g),
        )

    return make


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of one small file in each format."""
    folder = tmp_path_factory.mktemp("whole")
    save_file(TENSORS, folder / "a.safetensors", {"note": "x"})
    content = {"state_dict": TENSORS, "global_step": 7}
    torch.save(content, folder / "a.ckpt")
    torch.save(content, folder / "b.ckpt", _use_new_zipfile_serialization=False)
    names = {"safetensors": "a.safetensors", "zip": "a.ckpt", "legacy": "b.ckpt"}
    data = {form: (folder / name).read_bytes() for form, name in names.items()}
    return {**data, "legacy": _without_addresses(data["legacy"])}


def _without_addresses(data: bytes) -> bytes:
    """The old format with numbers for the names of its storages, which are places in memory."""
    numbers: dict[bytes, bytes] = {}

    def name(found: re.Match[bytes]) -> bytes:
        number = numbers.setdefault(found[1], b"%014d" % len(numbers))
        return pickle.BINUNICODE + len(number).to_bytes(4, "little") + number

    return re.sub(pickle.BINUNICODE + rb".\0\0\0(\d{10,20})(?=q)", name, data, flags=re.DOTALL)
