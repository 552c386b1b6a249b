"""A run continues as itself or not at all."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from training_helpers import tiny_config, tiny_trainer

from training.config import ConfigError, ModelConfig
from training.data.entries import Entry
from training.identity import contents_of, file_digest, identity_of, require_same_run

OTHER_RUNS: dict[str, dict[str, Any]] = {
    "stage": {"stage": "joint"},
    "model.variant": {"model": {"preset": "tiny", "variant": "256"}},
    "data.size": {"data": {"size": [64, 64]}},
    "data.num_frames": {"data": {"num_frames": 8}},
    "data.frame_strides": {"data": {"frame_strides": [1, 2]}},
    "data.cache": {"data": {"cache": True, "kind": "small_world"}},
    "run.seed": {"run": {"seed": 1}},
    "conditioning.concat": {"conditioning": {"concat": {"first": 1.0}}},
    "conditioning.drop_probability": {"conditioning": {"drop_probability": 0.1}},
    "optimizer.betas": {"optimizer": {"betas": [0.8, 0.9]}},
    "optimizer.timesteps": {"optimizer": {"timesteps": "late"}},
    "lora.rank": {"lora": {"rank": 4}},
}


def identity(**sections: Any) -> dict[str, Any]:
    return identity_of(tiny_config("out", **sections))


@pytest.mark.parametrize("key", OTHER_RUNS)
def test_another_run_is_refused_by_name(key: str):
    with pytest.raises(ConfigError, match=rf"out holds another run: .*{re.escape(key)} was"):
        require_same_run(identity(), identity(**OTHER_RUNS[key]), Path("out"))


def test_how_the_work_is_done_may_change_and_is_named():
    changed = {
        "run": {"steps": 9, "batch_size": 1, "accumulate": 2, "mixed_precision": "bf16"},
        "optimizer": {"rate": 5e-4, "decay": "cosine"},
        "data": {"workers": 3},
    }
    found = require_same_run(identity(), identity(**changed), Path("out"))
    assert len(found) == 7
    assert "run.batch_size was 2 and is 1" in found


@pytest.mark.parametrize("cache", [True, False])
def test_what_was_encoded_may_be_kept_elsewhere(cache: bool):
    data = {"kind": "small_world", "cache": cache}
    here = identity(data={**data, "cache_folder": "here"})
    assert require_same_run(here, identity(data={**data, "cache_folder": "there"}), Path()) == []
    # As some states were saved.
    assert require_same_run({**here, "data.cache_folder": "old"}, here, Path()) == []


def trained(folder: Path, **sections: Any):
    trainer = tiny_trainer(tiny_config(folder, **sections))
    trainer.train()
    return trainer


def test_a_trainer_refuses_what_its_folder_does_not_hold(tmp_path: Path):
    trained(tmp_path, run={"steps": 1, "batch_size": 1})
    for sections in ({"stage": "lora"}, {"run": {"steps": 1, "seed": 3}}):
        with pytest.raises(ConfigError, match="holds another run"):
            tiny_trainer(tiny_config(tmp_path, **sections))
    assert tiny_trainer(tiny_config(tmp_path, run={"steps": 2})).train() == 2


def test_states_without_an_identity_still_continue(tmp_path: Path):
    trained(tmp_path, run={"steps": 1, "batch_size": 1})
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["identity"]
    torch.save(state, tmp_path / "state.pt")
    assert tiny_trainer(tiny_config(tmp_path)).step == 1
    del state["model"]["unet.input_blocks.0.0.weight"]
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(ConfigError, match="holds the state of another model"):
        tiny_trainer(tiny_config(tmp_path))


@pytest.mark.parametrize(
    "state",
    [
        [1, 2],
        {"step": 1},
        {"model": [], "optimizer": None, "ema": None, "scaler": None, "step": 1},
        {"model": {}, "optimizer": None, "ema": None, "scaler": None, "step": "one"},
        {"model": {}, "optimizer": None, "ema": None, "scaler": None, "step": 1, "identity": 3},
    ],
)
def test_a_file_that_is_no_state_is_named(tmp_path: Path, state: Any):
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(ConfigError, match=r"state\.pt cannot be read \(it does not hold"):
        tiny_trainer(tiny_config(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 cut"])
def test_a_damaged_state_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"state\.pt cannot be read \(.+\)"):
        tiny_trainer(tiny_config(tmp_path))


def test_files_are_known_by_content_not_by_place(tmp_path: Path):
    (tmp_path / "a.ckpt").write_bytes(bytes(5_000_000))
    (tmp_path / "b.ckpt").write_bytes(bytes(5_000_000))
    entries = [Entry("1.mp4", "rain", str), Entry("2.mp4", "", str)]
    moved, here = (
        contents_of(ModelConfig(checkpoint=str(tmp_path / name)), entries)
        for name in ("b.ckpt", "a.ckpt")
    )
    assert moved == here
    fewer = contents_of(ModelConfig(checkpoint=str(tmp_path / "a.ckpt")), entries[:1])
    with pytest.raises(ConfigError, match=r"data\.path has other content than it had"):
        require_same_run(here, fewer, tmp_path)
    with (tmp_path / "b.ckpt").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert file_digest(tmp_path / "b.ckpt") != file_digest(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(bytes(4_999_999))
    assert file_digest(tmp_path / "b.ckpt") != file_digest(tmp_path / "a.ckpt")
