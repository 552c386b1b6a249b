"""Fewer steps beside 50: the settings as nodes, and the table of what they cost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.small_world.judge.ceiling import true_clip
from research.small_world.judge.pairs import prompted
from research.small_world.steps import table
from research.small_world.steps.__main__ import chosen
from research.small_world.steps.settings import REFERENCE, SETTINGS, Setting, put


def prompt() -> dict[str, Any]:
    links = {name: [name, 0] for name in ("model", "positive", "negative", "latent")}
    return {"9": {"class_type": "DynamiCrafterSampler", "inputs": {**links, "steps": 50}}}


def nodes(setting: Setting) -> dict[str, Any]:
    """Inputs by node type."""
    changed = prompt()
    assert put(changed, setting, cfg=2.0, seed=5) == "9"
    return {node["class_type"]: node["inputs"] for node in changed.values()}


def test_settings_have_names_of_their_own():
    names = [setting.file_name for setting in SETTINGS]
    assert len(set(names)) == len(names)
    assert all(c.isalnum() or c in ".-" for name in names for c in name)
    assert SETTINGS[0] == REFERENCE


def test_some_settings_are_chosen_by_their_beginnings():
    assert chosen(None) == list(SETTINGS)
    found = chosen(["10-dpmpp-2m--beta"])
    assert found == [REFERENCE, Setting(10, "dpmpp_2m", "beta")]


@pytest.mark.parametrize(
    ("setting", "passes"),
    [
        (Setting(8), 16),
        (Setting(10, guided=(0.0, 0.5)), 15),
        (Setting(10, guided=(0.15, 0.55)), 14),
    ],
)
def test_a_step_without_guidance_is_one_pass(setting: Setting, passes: int):
    assert setting.passes == passes


def test_our_sampler_keeps_guidance_noise_and_picture():
    found = nodes(Setting(8, eta=1.0))
    custom = found["SamplerCustomAdvanced"]
    assert custom["latent_image"] == ["latent", 0]
    assert found["RandomNoise"]["noise_seed"] == 5
    assert found["DynamiCrafterGuider"]["cfg"] == 2.0
    assert found["DynamiCrafterGuider"]["model"] == ["model", 0]
    assert found["DynamiCrafterDDIM"]["eta"] == 1.0
    assert found["DynamiCrafterScheduler"]["steps"] == 8


def test_stock_samplers_schedulers_and_caches_take_their_places():
    found = nodes(Setting(10, "deis", "beta", cache="EasyCache"))
    assert found["KSamplerSelect"]["sampler_name"] == "deis"
    assert (found["BasicScheduler"]["scheduler"], found["BasicScheduler"]["steps"]) == ("beta", 10)
    assert found["EasyCache"]["model"] == ["model", 0]
    assert found["DynamiCrafterGuider"]["model"] == ["cache", 0]


def test_guidance_stops_outside_its_part_of_the_run():
    changed = prompt()
    put(changed, Setting(10, guided=(0.2, 0.7)), cfg=2.0, seed=5)
    before, after = changed["before"]["inputs"], changed["after"]["inputs"]
    assert (before["start_percent"], before["end_percent"], before["cfg"]) == (0.0, 0.2, 1.0)
    assert (after["start_percent"], after["end_percent"]) == (0.7, 1.0)
    assert after["model"] == ["before", 0]
    assert "CFGOverride" not in nodes(REFERENCE)


def test_uni_pc_shares_its_noise_levels_with_nobody():
    def spacing(sampler: str) -> str:
        return nodes(Setting(10, sampler))["DynamiCrafterScheduler"]["spacing"]

    assert spacing("uni_pc") != spacing("deis")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Perfect videos of 50 steps, and black ones of 8 steps with latents of half the size."""
    folder = tmp_path_factory.mktemp("steps")
    for job in prompted(12):
        clip = (true_clip(job) * 255).astype(np.uint8)
        made = {REFERENCE: (clip, 2.0, 10.0), Setting(8): (0 * clip, 1.0, 2.0)}
        for setting, (video, latent, seconds) in made.items():
            path = table.clip_file(folder, setting, job)
            path.parent.mkdir(exist_ok=True)
            latents = np.full((16, 4, 8, 8), latent, dtype=np.float32)
            np.savez(
                path,
                video=video,
                latent=latents,
                seconds=np.array(seconds),
                passes=np.array(setting.passes),
            )
    return folder


def test_rows_compare_with_50_steps_and_ask_the_judge(videos: Path):
    exact, fewer = table.rows(videos, SETTINGS)
    assert "latents" not in exact
    assert exact["moves"] == [12, 12] and exact["seconds"] == 1.0
    assert fewer["latents"] == pytest.approx(0.5)
    assert fewer["seconds"] == pytest.approx(0.2)
    assert fewer["passes"] == 16
    assert fewer["moves"][0] == 0 and fewer["frames"] < 15


def test_the_table_stands_between_the_marks_of_a_page(videos: Path, tmp_path: Path):
    text = table.markdown(table.rows(videos, SETTINGS))
    assert text.splitlines()[2].startswith("| 50 | DDIM, eta 0 | 100 | 1.00 |  |  | 12 | 100 % (76")
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    table.write(page, text)
    assert page.read_text("utf-8") == f"before\n{table.BEGIN}\n{text}\n{table.END}\nafter\n"


def test_a_share_of_few_scenes_is_not_stated():
    row = {"steps": 8, "setting": "DDIM", "scenes": 4, "passes": 16.0, "seconds": 0.2}
    shares = {key: [4, 4] for key in table.QUESTIONS}
    assert "%" not in table.markdown([{**row, **shares}])
    assert "100 %" in table.markdown([{**row, **shares, "scenes": 12}])
