"""What differs between Accelerate's ways to share a run: DDP, FSDP2, DeepSpeed's ZeRO.

DDP and ZeRO 1 and 2 keep every parameter whole on every process. FSDP2 keeps slices, as DTensors;
a run's state is saved whole all the same, so it can continue with another number of processes. ZeRO
slices the optimizer's state in a way of its own; there DeepSpeed saves and reads it.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dc_model.shown import shown

from .config import ConfigError, TrainConfig

log = logging.getLogger(__name__)

DEEPSPEED_FOLDER = "deepspeed"


def gathered(value: Any, keep: bool = True) -> Any:
    """`value` with every sliced tensor whole and on the CPU; other tensors stay what they are.

    value: a tensor, or dicts, lists and tuples of them. Every process must call it; with `keep`
    false the whole tensors are dropped again, as on processes that do not write.
    """
    if isinstance(value, DTensor):
        whole = value.full_tensor()
        return whole.cpu() if keep else None
    if isinstance(value, dict):
        return {k: gathered(v, keep) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gathered(v, keep) for v in value)
    return value


def sliced_like(reference: Tensor, whole: Tensor) -> Tensor:
    """`whole`, the same on every process, sliced and placed as `reference` is."""
    if not isinstance(reference, DTensor):
        return whole
    mesh = reference.device_mesh
    return distribute_tensor(whole.to(mesh.device_type), mesh, reference.placements)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a whole optimizer state; what has a parameter's shape is sliced as the parameter is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    sliced = {
        number: {
            name: sliced_like(parameters[number], v) if v.shape == parameters[number].shape else v
            for name, v in entries.items()
        }
        for number, entries in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": sliced})


def is_sliced(module: nn.Module) -> bool:
    """True under FSDP2: then every process must take part in each forward pass."""
    return any(isinstance(p, DTensor) for p in module.parameters())


def reshard(module: nn.Module) -> None:
    """After a forward pass without a backward one: let go of the parameters that were gathered."""
    from torch.distributed.fsdp import FSDPModule

    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def check_model(accelerator: Accelerator, model: nn.Module) -> None:
    """Raises ConfigError for a model that this way of sharing cannot hold."""
    scalars = [name for name, p in model.named_parameters() if p.ndim == 0]
    if accelerator.distributed_type == DistributedType.FSDP and scalars:
        raise ConfigError(
            f"{scalars[0]} is a single number, as the gates of the variant 256 are, and FSDP "
            "slices arrays only; use DDP (accelerate/ddp.yaml)."
        )


def uses_deepspeed(accelerator: Accelerator) -> bool:
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def configure(accelerator: Accelerator, config: TrainConfig) -> None:
    """Tell Accelerate's plugins what the stage's configuration says.

    Raises ConfigError for a way of sharing that the trainer does not know.
    """
    accelerator.gradient_accumulation_steps = config.run.accumulate
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ConfigError("fsdp_version is 1 in Accelerate's configuration; set fsdp_version: 2.")
    if uses_deepspeed(accelerator):
        _configure_deepspeed(accelerator, config)


def _configure_deepspeed(accelerator: Accelerator, config: TrainConfig) -> None:
    plugin: Any = accelerator.state.deepspeed_plugin
    if plugin.zero_stage not in (0, 1, 2):
        raise ConfigError(
            f"zero_stage is {plugin.zero_stage} in Accelerate's configuration; the trainer knows 1 "
            "and 2. Where parameters must be sliced too, use accelerate/fsdp.yaml."
        )
    if config.run.mixed_precision == "fp16" or accelerator.mixed_precision != "no":
        raise ConfigError(
            "With DeepSpeed set run.mixed_precision to bf16 or no, and mixed_precision to no in "
            "Accelerate's configuration: the trainer keeps its weights in float32."
        )
    settings = plugin.deepspeed_config
    settings["train_micro_batch_size_per_gpu"] = config.run.batch_size
    settings["gradient_accumulation_steps"] = config.run.accumulate
    settings["gradient_clipping"] = config.optimizer.clip_norm
    settings["bf16"] = settings["fp16"] = {"enabled": False}


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Accelerate, with what its launcher put into the environment and the stage's precision.

    Under DeepSpeed the precision is the trainer's own autocast: DeepSpeed's would store the
    weights themselves in half precision. Raises ConfigError for a precision that needs a GPU.
    """
    try:
        accelerator = Accelerator(mixed_precision=_precision(config))
    except ValueError as error:
        raise ConfigError(
            f"run.mixed_precision is {config.run.mixed_precision}: {error}"
        ) from error
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        log.warning("run.mixed_precision is fp16, which CPUs lack; training in float32.")
    configure(accelerator, config)
    return accelerator


def _precision(config: TrainConfig) -> str:
    from accelerate.utils import parse_flag_from_env

    return "no" if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED") else config.run.mixed_precision


def autocast(accelerator: Accelerator, config: TrainConfig) -> Any:
    """The precision of forward passes."""
    if uses_deepspeed(accelerator) and config.run.mixed_precision == "bf16":
        return torch.autocast(accelerator.device.type, torch.bfloat16)
    return accelerator.autocast()


def save_deepspeed(engine: Any, folder: Path, step: int) -> None:
    """DeepSpeed's own state of `step`, beside earlier ones. Every process must call it."""
    engine.save_checkpoint(str(folder / DEEPSPEED_FOLDER), tag=f"step{step}")


def load_deepspeed(engine: Any, folder: Path, step: int) -> None:
    """Raises ConfigError when the state was not saved by DeepSpeed."""
    path, _ = engine.load_checkpoint(str(folder / DEEPSPEED_FOLDER), tag=f"step{step}")
    if path is None:
        raise ConfigError(
            f"{shown(folder / DEEPSPEED_FOLDER)} has no state of step {step}; start it as the run "
            "began, or choose another output."
        )


def drop_older_deepspeed(folder: Path, step: int) -> None:
    """Remove DeepSpeed's states of other steps than `step`."""
    for old in _deepspeed_states(folder):
        if old.name != f"step{step}":
            shutil.rmtree(old)


def _deepspeed_states(folder: Path) -> Iterator[Path]:
    return (folder / DEEPSPEED_FOLDER).glob("step*")
