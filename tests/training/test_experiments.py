from pathlib import Path

import pytest
from safetensors.torch import save_file

from training.autoencoder import Autoencoder
from training.clip import Towers
from training.small_world import experiments
from training.small_world.evaluate import Settings
from training.small_world.extractor import SmallExtractor
from training.small_world.preset import NUM_GATES
from training.stages import STAGES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts = {"vae": Autoencoder(), "towers": Towers(), "extractor": SmallExtractor()}
    for name, module in parts.items():
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        save_file(state, tmp_path / f"{name}.safetensors")
    return tmp_path


def test_an_arm_starts_from_the_shared_base_and_is_kept(folder: Path, monkeypatch):
    quick = experiments.Arm(((STAGES["joint"], 1),))
    monkeypatch.setitem(experiments.ARMS, "full method", quick)
    model = experiments.train_arm(folder, "full method", 0, base_steps=1)
    gates = experiments.gates(model)
    assert len(gates) == NUM_GATES
    base = experiments.train_base(folder, 0, 1)
    temporal = "unet.middle_block.2.norm.weight"
    assert (model.state_dict()[temporal] == base[temporal]).all()
    again = experiments.train_arm(folder, "full method", 0, base_steps=1)
    assert experiments.gates(again) == gates
    figures = experiments.measure(model, folder, quick, 2, Settings(steps=1, cfg=1.0))
    assert set(figures) == {"FVD", "KVD", "motion as told", "first frame, dB"}


def test_intervals_by_value():
    assert experiments.interval([1.0]) == "1.000"
    # Standard deviation 1, three values: 4.303 / sqrt(3).
    assert experiments.interval([1.0, 2.0, 3.0]) == "2.000 ± 2.484"


def test_report_has_a_row_per_arm():
    figures = {"FVD": 1.0, "KVD": 2.0, "motion as told": 0.5, "first frame, dB": 20.0}
    lines = experiments.report({"a": [figures], "b": [figures] * 3}).splitlines()
    assert lines[2].startswith("| a | 1 | 1.000 |")
    assert lines[3].startswith("| b | 3 | 1.000 ± 0.000 |")
