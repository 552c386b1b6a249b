import os
import signal
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from accelerate.state import AcceleratorState
from torch.multiprocessing.spawn import ProcessExitedException
from training_helpers import WIDE, tiny_config, tiny_model, tiny_trainer

from training.config import ConfigError
from training.data.order import MicroBatches, item_of
from training.stages import STAGES, StageName, select_parameters
from training.trainer import bucket_means, learning_rate


def is_temporal(name: str) -> bool:
    """By the checkpoint's own key names, not by the code under test."""
    parts = name.split(".")
    transformer_after_spatial = (
        (
            parts[0] in ("input_blocks", "output_blocks")
            and len(parts) > 2
            and parts[2] == "2"
            and "transformer_blocks" in name
        )
        or name.startswith("middle_block.2.")
        or (
            parts[0] in ("input_blocks", "output_blocks")
            and parts[2:3] == ["2"]
            and parts[3:4] in (["norm"], ["proj_in"], ["proj_out"])
        )
    )
    return "temopral_conv" in name or name.startswith("init_attn") or transformer_after_spatial


def belongs(stage: StageName, name: str) -> bool:
    part, _, key = name.partition(".")
    settings = STAGES[stage]
    if part == "projector":
        return settings.projector
    image = "_ip." in key or key.endswith("alpha")
    if stage == "projector":
        return image
    if not settings.image_tokens and image:
        return False
    return settings.unet == "all" or not is_temporal(key)


@pytest.mark.parametrize("stage", [s for s in STAGES if s != "lora"])
def test_only_the_stages_own_parameters_change(stage: StageName, tmp_path: Path):
    config = tiny_config(tmp_path, stage, run={"steps": 10, "batch_size": 1})
    trainer = tiny_trainer(config)
    before = {n: p.detach().clone() for n, p in trainer.raw.named_parameters()}
    trainer.train()
    changed = {n for n, p in trainer.raw.named_parameters() if not torch.equal(p, before[n])}
    expected = {n for n in before if belongs(stage, n)}
    assert changed - expected == set()
    # With one frame and temporal layers bypassed nothing of a spatial layer is left out.
    assert expected - changed == set()
    assert set(trainer.trained) == expected


def test_lora_changes_adapters_only(tmp_path: Path):
    trainer = tiny_trainer(tiny_config(tmp_path, "lora", run={"steps": 10, "batch_size": 1}))
    before = {n: p.detach().clone() for n, p in trainer.raw.named_parameters()}
    trainer.train()
    changed = {n for n, p in trainer.raw.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("lora_" in n for n in changed)


def state(trainer) -> dict[str, torch.Tensor]:
    assert trainer.ema is not None
    weights = {n: p.detach().clone() for n, p in trainer.raw.named_parameters()}
    return weights | {f"ema.{n}": v.clone() for n, v in trainer.ema.shadow.items()}


def _train_until_killed(_rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer = tiny_trainer(tiny_config(folder, run={"steps": 6, "save_every": 3, "accumulate": 2}))

    def kill(step: int, _loss: float, _buckets: dict[str, float]) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.on_step = kill
    trainer.train()


def test_resume_after_a_kill_equals_an_uninterrupted_run_bit_for_bit(tmp_path: Path):
    whole = tiny_trainer(tiny_config(tmp_path / "whole", run={"steps": 6, "accumulate": 2}))
    whole.train()
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        multiprocessing.start_processes(  # pyright: ignore[reportPrivateImportUsage]
            _train_until_killed, args=(str(tmp_path / "parts"),), nprocs=1, start_method="fork"
        )
    resumed = tiny_trainer(
        tiny_config(tmp_path / "parts", run={"steps": 6, "accumulate": 2}), seed=99
    )
    assert resumed.step == 3
    resumed.train()
    a, b = state(whole), state(resumed)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_accumulation_equals_one_large_batch(tmp_path: Path):
    options = {"steps": 2}
    large = tiny_trainer(tiny_config(tmp_path / "a", run={**options, "batch_size": 4}), dtype=WIDE)
    small = tiny_trainer(
        tiny_config(tmp_path / "b", run={**options, "batch_size": 2, "accumulate": 2}), dtype=WIDE
    )
    for trainer in (large, small):
        trainer.train()
    for (name, p), q in zip(large.raw.named_parameters(), small.raw.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0, msg=name)


def test_time_limit_stops_and_saves(tmp_path: Path):
    config = tiny_config(tmp_path, run={"steps": 1000, "time_limit": 1e-6})
    assert tiny_trainer(config).train() == 1
    assert tiny_trainer(config).step == 1


def test_data_order_is_a_function_of_the_sample_number():
    first_epoch = [item_of(3, n, 5) for n in range(5)]
    assert sorted(first_epoch) == [0, 1, 2, 3, 4]
    assert sorted(item_of(3, n, 5) for n in range(5, 10)) == [0, 1, 2, 3, 4]
    iterators = [iter(MicroBatches(2, 2, rank, 2, first_step=1)) for rank in range(2)]
    taken = [next(it) for _ in range(2) for it in iterators]
    assert [n for numbers in taken for n in numbers] == list(range(8, 16))


def test_learning_rate_by_value():
    config = tiny_config("out", optimizer={"rate": 1.0, "warmup_steps": 4, "decay": "cosine"})
    rates = [learning_rate(config.optimizer, s, 100) for s in (0, 1, 3, 50, 75, 100)]
    assert rates == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.525, 0.05])


def test_bucket_means():
    means = bucket_means(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 999, 750]))
    assert means == {"0-249": 1.0, "750-999": 3.0}


def test_a_stage_without_parameters_is_refused(tmp_path: Path):
    model = tiny_model()
    assert select_parameters(model.unet, None, STAGES["lora"]) == []
    empty = tiny_config(tmp_path, "projector")
    trainer = tiny_trainer(empty)
    trainer.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="stage 'projector' trains nothing in this model"):
        trainer._optimizer()
    with pytest.raises(ConfigError, match=r"lora\.targets \['foo'\] match no linear layer"):
        tiny_trainer(tiny_config(tmp_path, "lora", lora={"targets": ["foo"]}))


def test_a_rate_factor_speeds_up_its_parameters_alone_and_a_run_resumes_with_it(tmp_path: Path):
    start = {name: p.detach().clone() for name, p in tiny_model().named_parameters()}

    def moved(folder: str, factors: dict[str, float], steps: int = 1) -> dict[str, float]:
        config = tiny_config(
            tmp_path / folder, run={"steps": steps}, optimizer={"weight_decay": 0.0, "clip_norm": 0}
        )
        trainer = tiny_trainer(config, rate_factors=factors)
        trainer.train()
        return {
            name: float((p.detach() - start[name]).abs().max())
            for name, p in trainer.raw.named_parameters()
        }

    plain, fast = moved("plain", {}), moved("fast", {"attn2.alpha": 10.0})
    # AdamW's first step is the rate, whatever the gradient.
    for name, way in fast.items():
        expected = 10 if name.endswith("attn2.alpha") else 1
        assert way == pytest.approx(expected * plain[name], rel=1e-3), name
    assert any(name.endswith("attn2.alpha") for name in fast)
    assert moved("fast", {"attn2.alpha": 10.0}, steps=2) != fast


def test_states_from_before_rate_factors_go_on(tmp_path: Path):
    config = tiny_config(tmp_path, run={"steps": 1})
    trainer = tiny_trainer(config)
    trainer.train()
    for group in trainer.optimizer.param_groups:
        del group["rate_factor"]
    trainer.save()
    assert tiny_trainer(tiny_config(tmp_path, run={"steps": 2})).train() == 2
