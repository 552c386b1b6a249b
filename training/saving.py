"""Run states for exact resume, and checkpoints that the pack's loader opens."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from dc_model.checkpoint.detect import METADATA_KEY, HeadDims
from dc_model.checkpoint.errors import naming
from dc_model.checkpoint.inspect import read_checkpoint
from dc_model.checkpoint.layout import (
    PROJECTOR_PREFIX,
    TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    VISION_PREFIX,
)
from dc_model.sampling.schedule import NoiseSchedule
from dc_model.shown import shown

from .config import ConfigError
from .distributed import gathered
from .files import write_whole
from .model import VideoModel

if TYPE_CHECKING:
    from .encoders import Encoders

STATE_FILE = "state.pt"
# Detection takes these widths where a file states none.
PUBLISHED_HEADS = HeadDims(unet=64)


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write what a resumed run needs: `model`, `optimizer`, `ema`, `scaler`, `step`, `identity`.

    The data order and all random draws follow from the step. Tensors are whole. Raises ConfigError
    when the disk has no room.
    """
    require_space(folder, _bytes_of(state))
    write_whole(folder / STATE_FILE, lambda path: torch.save(dict(state), path))


def load_state(folder: Path) -> dict[str, Any] | None:
    """The saved state, or None when the folder has none. Raises ConfigError for a damaged one."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - damaged pickles fail in every way
        reason = shown(error) or "it is empty or cut short"
    else:
        if _is_state(state):
            return state
        reason = "it does not hold the state of a run"
    raise ConfigError(
        f"{shown(path)} cannot be read ({reason}); restore it, or remove it to begin again."
    )


def _is_state(state: Any) -> bool:
    return (
        isinstance(state, dict)
        and {"optimizer", "ema", "scaler"} <= state.keys()
        and isinstance(state.get("model"), dict)
        and isinstance(state.get("step"), int)
        and isinstance(state.get("identity", {}), dict)
    )


def require_space(folder: Path, size: int) -> None:
    """Raises ConfigError when the disk of `folder` has fewer than `size` bytes free."""
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise ConfigError(
            f"{shown(folder)} needs {size / 1e9:.1f} GB to save into and has {free / 1e9:.1f} "
            "GB free; "
            "make room, or choose an output on another disk."
        )


def _bytes_of(value: Any) -> int:
    """Of all tensors in dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(_bytes_of(v) for v in value.values())
    return sum(_bytes_of(v) for v in value) if isinstance(value, list | tuple) else 0


def schedule_buffers(schedule: NoiseSchedule) -> dict[str, Tensor]:
    """The buffers that detection and the sampler read from a checkpoint."""
    buffers = {"alphas_cumprod": schedule.alphas_cumprod.clone()}
    if not bool((schedule.scale == 1).all()):
        floor = schedule.scale[-1].expand(400)
        buffers["scale_arr"] = torch.cat([schedule.scale, floor])
    return buffers


def text_state(encoders: "Encoders") -> dict[str, Tensor]:
    """The text tower under `cond_stage_model.model.`; open_clip's layout."""
    text = encoders.towers.text.state_dict()
    return {f"{TEXT_PREFIX}model.{k}": v for k, v in text.items() if k != "mask"}


def vision_state(encoders: "Encoders") -> dict[str, Tensor]:
    """The image tower, where there is one, under `embedder.model.visual.`; no dead text weights."""
    if not hasattr(encoders.towers, "visual"):
        return {}
    visual = encoders.towers.visual.state_dict()
    return {f"{VISION_PREFIX}model.visual.{k}": v for k, v in visual.items()}


def checkpoint_tensors(
    model: VideoModel, encoders: "Encoders | None", schedule: NoiseSchedule
) -> dict[str, Tensor]:
    """All parts under the published prefixes. Under FSDP every process must call it."""
    tensors = {f"{UNET_PREFIX}{k}": v for k, v in gathered(model.unet.state_dict()).items()}
    if model.projector is not None:
        projector = gathered(model.projector.state_dict())
        tensors |= {f"{PROJECTOR_PREFIX}{k}": v for k, v in projector.items()}
    if encoders is not None:
        vae = encoders.vae.state_dict()
        tensors |= {f"{VAE_PREFIX}{k}": v for k, v in vae.items()}
        tensors |= text_state(encoders) | vision_state(encoders)
    return tensors | schedule_buffers(schedule)


def unusual_heads(model: VideoModel, encoders: "Encoders") -> dict[str, int]:
    """Widths of one attention head by part, where they are not the published ones.

    A file has to state these, since its shapes do not say them.
    """
    towers = encoders.towers
    widths = {"unet": model.unet.arch.head_dim, "text_encoder": towers.arch.text_head}
    if model.projector is not None:
        widths["projector"] = model.projector.arch.head_dim
    if hasattr(towers, "visual"):
        widths["image_encoder"] = towers.arch.vision_head
    published = PUBLISHED_HEADS._asdict()
    return {part: width for part, width in widths.items() if width != published[part]}


def save_checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    statement: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write one safetensors file. Schedule buffers stay float32.

    Raises ConfigError on a full disk and for a value that is not finite in `dtype`.
    statement: the file's own metadata (`variant`, head widths), which detection trusts first.
    """
    kept = {"alphas_cumprod", "scale_arr"}
    out = {
        k: v.detach().cpu().to(v.dtype if k in kept or not v.is_floating_point() else dtype)
        for k, v in tensors.items()
    }
    out = {k: v.contiguous().clone() for k, v in out.items()}
    for name, value in out.items():
        _require_finite(path, name, value)
    metadata = {METADATA_KEY: json.dumps(dict(statement))}
    require_space(path.parent, _bytes_of(out))
    write_whole(path, lambda part: save_file(out, part, metadata=metadata))


def _require_finite(path: Path, name: str, value: Tensor) -> None:
    if not bool(value.isfinite().all()):
        raise ConfigError(
            f"{shown(path)} is not written: {shown(name)} holds values that are not finite in "
            f"{str(value.dtype).removeprefix('torch.')}, which ends at "
            f"{torch.finfo(value.dtype).max:.5g}. Train again with a lower optimizer.rate."
        )


def load_tensors(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors; CheckpointError, which names the file, when it cannot be read."""
    with naming(path):
        return read_checkpoint(path).tensors
