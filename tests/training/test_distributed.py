"""Two processes over gloo against one, for each way to share a run."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo  # Before the processes fork: each would import it for itself.
import torch.multiprocessing as multiprocessing
from accelerate import (
    Accelerator,
    DeepSpeedPlugin,
    DistributedType,
    FullyShardedDataParallelPlugin,
    InitProcessGroupKwargs,
)
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from training_helpers import ARCH, WIDE, tiny_config, tiny_model, tiny_trainer

from training.config import ConfigError
from training.distributed import check_model, load_deepspeed
from training.monitor import Monitor, sample_averaged
from training.saving import checkpoint_tensors, save_checkpoint
from training.trainer import Trainer

# FSDP slices arrays only, and the gates of the variant 256 are single numbers.
ARRAYS_ONLY = ARCH._replace(learnable_image_scale=False)
FSDP_UNITS = ["SpatialTransformer", "TemporalTransformer", "ResBlock", "Resampler"]

# Set in a process that has run no other test.
ALONE = "FSDP_TESTS"
# The checkout must not be on sys.path.
PYTEST = "import sys; del sys.path[0]; import pytest; raise SystemExit(pytest.main())"
# Seconds; on an idle machine it takes 20.
PATIENCE = 600.0

Worker = Callable[[str], None]


def free_port() -> int:
    """A port below those that the system hands out, so no other test gets it meanwhile."""
    first = 20000 + os.getpid() % 10000
    for port in range(first, first + 2000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"No port is free from {first} on.")


def run_two(worker: Worker, folder: Path) -> None:
    """Call `worker(folder)` on each of two processes that know of each other."""
    port = free_port()
    multiprocessing.start_processes(  # pyright: ignore[reportPrivateImportUsage]
        _process, args=(port, worker, str(folder)), nprocs=2, start_method="fork"
    )


def _process(rank: int, port: int, worker: Worker, folder: str) -> None:
    torch.set_num_threads(1)
    # The parent's single-process state came along with the fork.
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        ACCELERATE_USE_CPU="true",
    )
    worker(folder)
    torch.distributed.destroy_process_group()


def fsdp_accelerator() -> Accelerator:
    """Accelerate offers FSDP on GPUs alone, though it runs over gloo: switched on by hand."""
    accelerator = Accelerator(cpu=True)
    state: Any = accelerator.state
    state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=FSDP_UNITS,
        cpu_ram_efficient_loading=False,
    )
    assert accelerator.is_fsdp2
    return accelerator


OPTIONS = {"batch_size": 1, "accumulate": 2, "gradient_checkpointing": True, "sample_every": 2}


def shared_trainer(folder: str, steps: int, accelerator: Accelerator | None = None) -> Trainer:
    config = tiny_config(folder, run={**OPTIONS, "steps": steps})
    trainer = tiny_trainer(config, dtype=WIDE, arch=ARRAYS_ONLY, accelerator=accelerator)
    assert trainer.accelerator.num_processes == 2
    return trainer


def single_trainer(folder: Path, steps: int) -> Trainer:
    """Sees the same samples: what two processes have at once, one has one after the other."""
    config = tiny_config(folder, run={**OPTIONS, "batch_size": 2, "steps": steps})
    trainer = tiny_trainer(config, dtype=WIDE, arch=ARRAYS_ONLY)
    return trainer


def saved(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same_run(found: Path, expected: Path) -> None:
    """Weights, averages and the optimizer's moments within 1e-5."""
    a, b = saved(found), saved(expected)
    assert a["step"] == b["step"]
    moments = [
        {
            f"{n}.{k}": v
            for n, entries in state["optimizer"]["state"].items()
            for k, v in entries.items()
        }
        for state in (a, b)
    ]
    for x, y in ((a["model"], b["model"]), (a["ema"], b["ema"]), moments):
        assert x.keys() == y.keys()
        for name, value in y.items():
            torch.testing.assert_close(x[name], value, atol=1e-5, rtol=0, msg=name)


def _train_ddp(folder: str) -> None:
    trainer = shared_trainer(folder, steps=2)
    trainer.on_step = Monitor(Path(folder), trainer.config.run).step
    with open(f"{folder}/stderr{os.environ['RANK']}", "w") as file, redirect_stderr(file):
        trainer.train()


def test_two_processes_equal_one_with_one_progress_bar(tmp_path: Path):
    (tmp_path / "two").mkdir()
    run_two(_train_ddp, tmp_path / "two")
    bars = [(tmp_path / "two" / f"stderr{rank}").read_text().count("2/2") for rank in (0, 1)]
    assert bars[0] and not bars[1]
    single_trainer(tmp_path / "one", steps=2).train()
    assert_same_run(tmp_path / "two", tmp_path / "one")


def _sample(_step: int, trainer: Trainer) -> None:
    batch = trainer.maker([trainer.source.load(0, 0)], [0])
    assert sample_averaged(trainer, batch, steps=2).isfinite().all()


def _train_fsdp_in_two_parts(folder: str) -> None:
    accelerator = fsdp_accelerator()
    first = shared_trainer(folder, 1, accelerator)
    assert first.sliced
    first.train()
    # A third of the parameters or more is another process's.
    mine = sum(p.to_local().numel() for p in first.raw.parameters())  # type: ignore[attr-defined]
    assert mine < 0.6 * sum(p.numel() for p in first.raw.parameters())
    second = shared_trainer(folder, 3, accelerator)
    assert second.step == 1
    # A sample on the way is a forward pass without a backward one.
    second.on_sample = _sample
    second.train()
    with second.averaged():
        tensors = checkpoint_tensors(second.raw, None, second.maker.schedule)
    if accelerator.is_main_process:
        save_checkpoint(Path(folder) / "model.safetensors", tensors, {}, torch.float32)


def test_fsdp_in_a_process_of_its_own(root: Path):
    """Forked from one that other tests have given threads, it has waited for ever."""
    test = f"{__file__}::{test_two_fsdp_processes_equal_one_after_a_resume.__name__}"
    result = subprocess.run(
        [sys.executable, "-c", PYTEST, "-q", "-p", "no:cacheprovider", test],
        cwd=root,
        env={**os.environ, ALONE: "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout + result.stderr


@pytest.mark.skipif(ALONE not in os.environ, reason="test_fsdp_in_a_process_of_its_own runs it")
def test_two_fsdp_processes_equal_one_after_a_resume(tmp_path: Path):
    run_two(_train_fsdp_in_two_parts, tmp_path / "two")
    one = single_trainer(tmp_path / "one", steps=3)
    one.train()
    assert_same_run(tmp_path / "two", tmp_path / "one")
    exported = load_file(tmp_path / "two" / "model.safetensors")
    with one.averaged():
        expected = checkpoint_tensors(one.raw, None, one.maker.schedule)
    assert exported.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(exported[name], value.float(), atol=1e-5, rtol=0, msg=name)
    # What was saved is whole: one process can continue with it.
    alone = single_trainer(tmp_path / "two", steps=4)
    assert alone.step == 3
    torch.testing.assert_close(alone.raw.state_dict(), saved(tmp_path / "two")["model"])
    assert alone.train() == 4


def test_fsdp_refuses_what_it_cannot_slice():
    accelerator = Accelerator(cpu=True)
    check_model(accelerator, tiny_model())
    state: Any = accelerator.state
    state.distributed_type = DistributedType.FSDP
    check_model(accelerator, tiny_model(arch=ARRAYS_ONLY))
    with pytest.raises(ConfigError, match=r"alpha is a single number.*ddp\.yaml"):
        check_model(accelerator, tiny_model())


def deepspeed_accelerator() -> Accelerator:
    """As `accelerate launch` with accelerate/deepspeed.yaml makes it, on CPUs."""
    os.environ.update(DS_ACCELERATOR="cpu", ACCELERATE_USE_DEEPSPEED="true")
    del os.environ["ACCELERATE_USE_CPU"]
    return Accelerator(
        deepspeed_plugin=DeepSpeedPlugin(zero_stage=2),
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")],
    )


def _train_deepspeed(folder: str) -> None:
    shared_trainer(folder, 2, deepspeed_accelerator()).train()


def _resume_deepspeed(folder: str) -> None:
    trainer = shared_trainer(folder, 4, deepspeed_accelerator())
    assert trainer.step == 2
    trainer.train()


def test_two_deepspeed_processes_equal_one_after_a_resume(tmp_path: Path):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    run_two(_train_deepspeed, tmp_path / "two")
    run_two(_resume_deepspeed, tmp_path / "two")
    single_trainer(tmp_path / "one", steps=4).train()
    found, expected = saved(tmp_path / "two"), saved(tmp_path / "one")
    for part in ("model", "ema"):
        for name, value in expected[part].items():
            torch.testing.assert_close(found[part][name], value, atol=1e-5, rtol=0, msg=name)
    states = [p.name for p in (tmp_path / "two" / "deepspeed").glob("step*")]
    assert states == ["step4"]


def test_a_deepspeed_state_that_is_not_there_is_named(tmp_path: Path):
    engine = SimpleNamespace(load_checkpoint=lambda *_, **__: (None, None))
    with pytest.raises(ConfigError, match="has no state of step 3"):
        load_deepspeed(engine, tmp_path, 3)
