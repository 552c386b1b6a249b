from pathlib import Path

import pytest

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
