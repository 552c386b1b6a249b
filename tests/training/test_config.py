from pathlib import Path
from typing import Any

import pytest
from training_helpers import tiny_model

from training.config import ConfigError, load_config, read_config
from training.train import parse_overrides

MINIMAL = {"stage": "joint", "output": "out", "model": {"preset": "small_world"}}


def nested(dotted: str, value: Any) -> dict[str, Any]:
    """`{"run": {"seed": 1}}` from "run.seed"."""
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return value


def test_defaults_are_the_published_fine_tune():
    config = read_config(MINIMAL)
    assert config.optimizer.rate == 1e-5
    assert config.optimizer.clip_norm == 0.5
    assert config.conditioning.drop_probability == 0.05
    assert config.conditioning.concat == {"random": 1.0}
    assert config.data.frame_strides == (1, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": {"stepz": 3}}, r"Unknown key run\.stepz; did you mean steps\? Known here are"),
        ({"extra": 1}, "Unknown key extra"),
        ({"stage": "fourth"}, "stage is 'fourth'; choose one of"),
        ({"run": {"steps": "many"}}, r"run\.steps is 'many'; it should be a valid integer"),
        ({"run": {"steps": True}}, r"run\.steps is True"),
        ({"run": 3}, r"run is 3"),
        ({"data": {"size": [64]}}, r"data\.size.* is missing|data\.size is"),
        ({"conditioning": {"concat": {"all": 1}}}, r"conditioning\.concat.* is 'all'; choose one"),
        ({"data": {"cache_folder": "c"}}, r"set data\.windows"),
        ({"data": {"cache": True}}, r"set data\.windows"),
        ({"model": {}}, "either `checkpoint` or `preset`"),
        ({"run": {"mixed_precision": False}}, "choose one of 'no', 'fp16', 'bf16'"),
        ({"run": {"seed": 2**64}}, r"run\.seed is 18446744073709551616; it should be less than"),
        ({"output": "x" * 256}, r"output is .*each name in it 255; choose a shorter"),
        ({"data": {"path": "ü" * 200}}, r"data\.path is .*each name in it 255"),
        ({"model": {"checkpoint": "a/" * 2048}}, r"model\.checkpoint is .*at most 4095 bytes"),
        ({"model": {"checkpoint": "a\0b"}}, r"model\.checkpoint is 'a\\x00b'; no path holds"),
        ({"output": ""}, "output is ''"),
        ({"output": "\ud800"}, "The configuration is .*Invalid JSON"),
        ({"run": {b"steps": 3}}, "cannot be used: keys must be"),
        ({"run": {"steps": 10**5000}}, "cannot be used: Exceeds the limit"),
        ({"model": {"preset": "small_world", "variant": "513"}}, "choose one of auto, 256, 512"),
    ],
)
def test_wrong_configurations_are_named(change: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        read_config({**MINIMAL, **change})


@pytest.mark.parametrize(
    "text", ["stage: &a [*a]", "a: &a {b: *a}", "!!binary aGk=: 1", "!!timestamp 2020-01-01: 1"]
)
def test_what_json_cannot_say_is_refused(text: str, tmp_path: Path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "c.yaml")


NO_RUN_CAN_MEAN = {
    "data.frame_strides": [[0, 0], [-2, -1], [6, 1], [1], [1, 2, 3], [1.5, 2]],
    "data.size": [[0, 64], [-64, 64], [64, 60], [64]],
    "data.num_frames": [0, -16],
    "data.workers": [-1],
    "data.windows": [-1],
    "data.pool": [0],
    "conditioning.concat": [{"first": -1}, {"first": 0}, {}, {"first": float("nan")}],
    "conditioning.drop_probability": [0.5, -0.01],
    "conditioning.motion_captions": [1.1],
    "optimizer.rate": [0, -1e-5, float("inf")],
    "optimizer.betas": [[1.0, 0.9], [-0.1, 0.9], [0.9]],
    "optimizer.weight_decay": [-1],
    "optimizer.warmup_steps": [-1],
    "optimizer.clip_norm": [-0.5],
    "run.steps": [0, -1, 1.5],
    "run.batch_size": [0],
    "run.accumulate": [0],
    "run.ema_decay": [1.5, 1.0, -0.1],
    "run.seed": [-1],
    "run.log_every": [0],
    "run.save_every": [-1],
    "run.sample_every": [-1],
    "run.time_limit": [-1, float("nan")],
    "run.dropout": [2, 1, -0.1],
    "lora.rank": [0, -4],
    "lora.alpha": [0],
    "lora.targets": [[], [""]],
    "output": ["", None],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, row in NO_RUN_CAN_MEAN.items() for value in row]
)
def test_values_that_no_run_can_mean_are_refused(key: str, value: Any):
    section, _, _ = key.partition(".")
    with pytest.raises(ConfigError, match=section):
        read_config({**MINIMAL, **nested(key, value)})


def test_every_fault_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        read_config({**MINIMAL, "run": {"seed": -1, "stepz": 1}, "lora": {"rank": 0}})
    assert len(str(caught.value).splitlines()) == 3


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


BASE_TEXT = "stage: full\noutput: out\nmodel: {preset: small_world, variant: 512}\n"


def test_words_and_numbers_as_people_write_them(tmp_path: Path):
    text = BASE_TEXT + "run: {mixed_precision: no}\noptimizer: {rate: 1e-5, weight_decay: 0}\n"
    config = load_config(write(tmp_path / "c.yaml", "\ufeff" + text))
    assert config.run.mixed_precision == "no"
    assert config.optimizer.rate == 1e-5
    assert config.model.variant == "512"


def test_overrides_by_dotted_key(tmp_path: Path):
    path = write(tmp_path / "c.yaml", BASE_TEXT)
    pairs = ["run.steps=7", "optimizer.rate=1e-4", "run.mixed_precision=no"]
    config = load_config(path, parse_overrides(pairs))
    assert config.run.steps == 7
    assert config.optimizer.rate == 1e-4
    assert config.run.mixed_precision == "no"
    with pytest.raises(ConfigError, match=r"output\.x cannot be set: output is a value"):
        load_config(path, {"output.x": 3})
    for pair, message in (("run.steps", "has no '='"), ("run.steps=[1", "is not YAML")):
        with pytest.raises(ConfigError, match=message):
            parse_overrides([pair])


def test_files_that_are_no_configuration_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    for text, message in (
        ("a: [1\nb: 2\n", r"c\.yaml is not YAML: line 2"),
        ("- 1\n", "holds no mapping"),
        ("", "holds no mapping"),
        (BASE_TEXT + "stage: full\n", "'stage' stands here twice"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(write(tmp_path / "c.yaml", text))
    (tmp_path / "c.yaml").write_bytes(b"stage: \xe9\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "c.yaml")


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
