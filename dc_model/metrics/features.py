"""Features of videos for FVD and KVD, by a network that the user supplies as TorchScript."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..checkpoint.layout import FLOATING
from ..shown import shown
from .torchscript import last_line, load_script

I3D_SIZE = 224
# Below, the last pooling of I3D has nothing to pool.
I3D_MIN_FRAMES = 9
I3D_ARGUMENTS = ("rescale", "resize", "return_features")

Preprocessing = Literal["i3d", "none"]
# Videos [N, T, 3, H, W] in [0, 1] -> features [N, D].
Features = Callable[[Tensor], Tensor]

_DESCRIPTIONS = {
    "i3d": f"I3D logits, {I3D_SIZE} px bilinear without antialias, aspect not kept, [-1, 1]",
    "none": "frames as they are, [0, 1]",
}


def i3d_input(videos: Tensor) -> Tensor:
    """`[N, T, 3, H, W]` in [0, 1] to `[N, 3, T, 224, 224]` in [-1, 1].

    Bilinear without antialias, aspect ratio not kept, as in the published FVD code.
    """
    frames = rearrange(videos, "n t c h w -> (n t) c h w")
    frames = F.interpolate(frames, (I3D_SIZE, I3D_SIZE), mode="bilinear", align_corners=False)
    return rearrange(frames, "(n t) c h w -> n c t h w", n=len(videos)) * 2 - 1


class ScriptedExtractor:
    """A TorchScript file as a feature extractor; `name` is how a protocol prints it.

    preprocessing: "i3d" for the Kinetics-400 I3D that published FVD code shares, whose features are
        the 400 logits before the softmax; "none" hands `[N, 3, T, H, W]` in [0, 1] to the network,
        which gives `[N, D]`.
    Raises ScriptError for a file that is damaged or refused, DeviceError for a device that is not
    there, ValueError for a network without `forward`, and when `preprocessing` says I3D and it is
    another network.
    """

    def __init__(
        self, path: Path, preprocessing: Preprocessing, device: torch.device | str = "cpu"
    ):
        self.file, self.preprocessing, self.device = path.name, preprocessing, device
        self.module = load_script(path, device)
        _check_forward(self.module, path.name, preprocessing)
        # Files of one name differ; a figure should say by which it was made.
        mark = file_hash(path)[:8]
        self.name = f"{path.name} (sha256 {mark}; {_DESCRIPTIONS[preprocessing]})"

    @torch.no_grad()
    def __call__(self, videos: Tensor) -> Tensor:
        """videos: `[N, T, 3, H, W]` in [0, 1]. Returns `[N, D]`, float32, on the CPU.

        Raises ValueError for clips too short for I3D, and when the network fails on them or gives
        something else than finite `[N, D]`.
        """
        if self.preprocessing == "i3d" and videos.shape[1] < I3D_MIN_FRAMES:
            raise ValueError(
                f"Clips have {videos.shape[1]} frames; I3D needs at least {I3D_MIN_FRAMES}: set "
                "num_frames to as many."
            )
        try:
            features = self._run(videos.to(self.device))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise ValueError(
                f"{shown(self.file)} fails on clips of shape {list(videos.shape)} "
                f"({shown(last_line(error))}); choose another preprocessing, clip length or size."
            ) from error
        return self._checked(features, len(videos))

    def _run(self, videos: Tensor) -> Any:
        if self.preprocessing == "i3d":
            return self.module(i3d_input(videos), rescale=False, resize=False, return_features=True)
        return self.module(videos.transpose(1, 2))

    def _checked(self, features: Any, count: int) -> Tensor:
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != count:
            raise ValueError(
                f"{shown(self.file)} gives {shape} for {count} clips; expected [{count}, D]: "
                "choose a network that gives one row of features for each clip."
            )
        if features.dtype not in FLOATING:
            raise ValueError(
                f"{shown(self.file)} gives features of type {features.dtype}, expected floating "
                "numbers: choose another network."
            )
        if not bool(torch.isfinite(features).all()):
            raise ValueError(
                f"{shown(self.file)} gives features that are not finite (NaN or infinite); check "
                "the preprocessing and the file."
            )
        # A network may switch gradients on, as `torch.no_grad` inside it does when it ends.
        return features.detach().float().cpu()


def extract(extractor: Features, videos: Tensor, batch_size: int = 8) -> Tensor:
    """Features of many videos: `[N, T, 3, H, W]` in [0, 1] to `[N, D]` float64."""
    return torch.cat([extractor(part) for part in videos.split(batch_size)]).double()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _check_forward(module: Any, file: str, preprocessing: Preprocessing) -> None:
    forward = getattr(module, "forward", None)
    if forward is None:
        raise ValueError(
            f"{shown(file)} has no `forward`, which gives the features; choose another network."
        )
    names = [argument.name for argument in forward.schema.arguments]
    if preprocessing == "i3d" and not set(I3D_ARGUMENTS) <= set(names):
        raise ValueError(
            f"{shown(file)} takes ({shown(', '.join(names[1:]))}), the published I3D file also "
            f"{', '.join(I3D_ARGUMENTS)}; set preprocessing to none for another network."
        )
