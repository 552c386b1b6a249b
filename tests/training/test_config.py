from pathlib import Path

import pytest
from training_helpers import tiny_model

from training.config import ConfigError, TrainConfig, build, load_config

MINIMAL = {"stage": "joint", "output": "out", "model": {"preset": "small_world"}}


def test_defaults_are_the_published_fine_tune():
    config = build(TrainConfig, MINIMAL, "")
    assert config.optimizer.rate == 1e-5
    assert config.optimizer.clip_norm == 0.5
    assert config.conditioning.drop_probability == 0.05
    assert config.conditioning.concat == {"random": 1.0}
    assert config.data.frame_strides == (1, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": {"stepz": 3}}, r"Unknown key run\.stepz"),
        ({"extra": 1}, "Unknown key extra"),
        ({"stage": "fourth"}, "stage is 'fourth'; choose one of"),
        ({"run": {"steps": "many"}}, r"run\.steps is 'many'; expected int"),
        ({"run": {"steps": True}}, r"run\.steps is True"),
        ({"run": {"steps": 0}}, r"run\.steps is 0; it must be positive"),
        ({"data": {"size": [64]}}, r"data\.size has 1 entries; expected 2"),
        ({"conditioning": {"concat": {"all": 1}}}, r"conditioning\.concat is 'all'"),
        ({"conditioning": {"drop_probability": 0.5}}, "drop_probability is 0.5"),
        ({"data": {"second_tier": 1.5}}, r"data\.second_tier is 1\.5; it is a share"),
        ({"data": {"cache_folder": "c"}}, r"set data\.windows"),
        ({"data": {"cache": True}}, r"set data\.windows"),
        ({"model": {}}, "either `checkpoint` or `preset`"),
    ],
)
def test_wrong_configurations_are_named(change: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        build(TrainConfig, {**MINIMAL, **change}, "")


def test_overrides_by_dotted_key(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("stage: full\noutput: out\nmodel: {preset: small_world}\n", encoding="utf-8")
    config = load_config(path, {"run.steps": 7, "optimizer.rate": 1})
    assert config.run.steps == 7
    assert config.optimizer.rate == 1.0


def test_shipped_configurations_load(root: Path):
    found = sorted((root / "training" / "configs").glob("*.yaml"))
    assert len(found) >= 5
    for path in found:
        load_config(path)


def test_accelerate_configurations_are_accelerates_own(root: Path):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    found = {}
    for path in (root / "training" / "configs" / "accelerate").glob("*.yaml"):
        line = ["--config_file", str(path), "-m", "training.train", "stage.yaml"]
        arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(line))
        found[path.stem] = arguments
    assert set(found) == {"ddp", "nodes", "fsdp", "deepspeed"}
    assert found["nodes"].num_machines == 2
    assert found["deepspeed"].use_deepspeed and found["deepspeed"].zero_stage == 2
    assert found["fsdp"].use_fsdp
    environment = prepare_multi_gpu_env(found["fsdp"])
    assert environment["FSDP_VERSION"] == "2"
    named = set(environment["FSDP_TRANSFORMER_CLS_TO_WRAP"].split(","))
    assert named <= {type(module).__name__ for module in tiny_model().modules()}
