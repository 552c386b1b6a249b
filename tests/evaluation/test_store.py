import json
from pathlib import Path

import pytest
import torch

from evaluation.command import EvaluationError, run, take_part
from evaluation.store import SETTINGS, cached, require_same_settings


def test_values_are_made_once(tmp_path: Path):
    values = torch.tensor([1.5, 2.5])
    assert cached(tmp_path, "key", lambda: values).tolist() == [1.5, 2.5]
    assert cached(tmp_path, "key", lambda: values + 1).tolist() == [1.5, 2.5]
    assert cached(tmp_path, "other", lambda: values + 1).tolist() == [2.5, 3.5]


def test_settings_stay_those_that_a_folder_was_begun_with(tmp_path: Path):
    settings = {"steps": 50, "size": (256, 256)}
    require_same_settings(tmp_path, settings)
    require_same_settings(tmp_path, settings)
    assert json.loads((tmp_path / SETTINGS).read_text())["steps"] == 50
    with pytest.raises(EvaluationError, match=r"begun with steps 50 \(now 20\); choose another"):
        require_same_settings(tmp_path, {**settings, "steps": 20})


@pytest.mark.parametrize("content", ["[]", "{", "5", "null"])
def test_settings_that_are_none_are_named(content: str, tmp_path: Path):
    (tmp_path / SETTINGS).write_text(content)
    with pytest.raises(EvaluationError, match=r"settings\.json does not hold the settings"):
        require_same_settings(tmp_path, {"steps": 50})


def test_parts_share_all_items():
    items = list("abcdefg")
    assert sorted([*take_part(items, "0/2"), *take_part(items, "1/2")]) == items
    assert take_part(items, None) == items
    assert list(take_part(items[:2], "3/4")) == []
    with pytest.raises(EvaluationError, match="write I/N"):
        take_part(items, "half")
    with pytest.raises(EvaluationError, match="0 to N - 1"):
        take_part(items, "2/2")


def test_a_command_ends_with_a_sentence():
    def command() -> None:
        raise EvaluationError("There is no checkpoint x.")

    with pytest.raises(SystemExit, match="There is no checkpoint x"):
        run(command)

    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(SystemExit, match=r"memory is full \(CUDA out of memory\.\); free some"):
        run(full)
