from typing import Any

import numpy as np
import pytest
import torch

from research.small_world.ablations import __main__ as ablations
from research.small_world.ablations import charts, figures, report, trials
from research.small_world.ablations.arms import ARMS, FULL, Plan
from research.small_world.ablations.runs import Runs
from research.small_world.train.extractor import SmallExtractor
from research.small_world.train.preset import NUM_GATES
from research.small_world.world.render import render_clip
from research.small_world.world.scenes import MOTIONS

QUICK = Plan(
    image_steps=1, base_steps=1, arm_steps=3, batch_size=1, pool=2, clips=6, sampling_steps=1
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("questions"), plan=QUICK)


def part(state: dict[str, torch.Tensor], words: str) -> torch.Tensor:
    return state[f"unet.{words}"]


def test_an_arm_starts_from_the_shared_base_and_is_kept(runs: Runs):
    model = runs.arm(FULL, 0)
    base = runs.base()
    state = model.state_dict()
    temporal, spatial = "middle_block.2.norm.weight", "middle_block.0.in_layers.2.weight"
    assert (part(state, temporal) == part(base, temporal)).all()
    assert (part(state, spatial) != part(base, spatial)).any()
    again = runs.arm(FULL, 0).state_dict()
    assert all((again[k] == v).all() for k, v in state.items())
    assert len(ablations.gates(state)) == NUM_GATES


def test_the_base_starts_without_visual_detail_guidance_and_never_sees_it(runs: Runs):
    for state in (runs.base(), runs.image_base()):
        assert (part(state, "input_blocks.0.0.weight")[:, 4:] == 0).all()
        assert (part(state, "input_blocks.0.0.weight")[:, :4] != 0).any()


def test_the_first_stage_of_three_trains_the_context_stream_alone(runs: Runs):
    runs.arm("three stages", 0)
    first = torch.load(runs.folder / "three stages 0" / "0" / "model.pt", weights_only=True)
    images = runs.image_base()
    spatial = "middle_block.0.in_layers.2.weight"
    assert (part(first, spatial) == part(images, spatial)).all()
    assert (runs.folder / "three stages 0" / "2" / "model.pt").exists()


def test_a_job_is_measured_once_and_in_the_results(runs: Runs):
    measuring = ablations.Measuring(runs)
    job = ablations.Job(FULL, 0, "opposite words")
    measuring.do(job)
    measuring.result_file(job).touch()
    written = measuring.result_file(job).stat().st_mtime_ns
    measuring.do(job)
    assert measuring.result_file(job).stat().st_mtime_ns == written
    results = measuring.results(1)
    (found,) = results["figures"][FULL]["opposite words"]
    assert found["as prompted"]["n"] == QUICK.clips
    assert len(results["gates"][0]) == NUM_GATES


def test_no_job_comes_twice_and_every_arm_has_its_seeds():
    names = [job.name for job in ablations.jobs(3)]
    assert len(names) == len(set(names))
    for name, arm in ARMS.items():
        assert [f"{name} {seed}" in names for seed in range(3)] == [i < arm.seeds for i in range(3)]


def test_measured_scenes_have_all_motions_alike_often():
    motions = [scene.motion for scene in trials.measured_scenes(0, 18)]
    assert {m: motions.count(m) for m in MOTIONS} == dict.fromkeys(MOTIONS, 3)


def test_figures_of_true_clips_of_still_ones_and_of_the_opposite():
    scenes = trials.measured_scenes(1, 12)
    true = np.stack([(render_clip(s) * 255).round().astype(np.uint8) for s in scenes])
    extractor = SmallExtractor().eval().requires_grad_(False)
    found = figures.figures(true, scenes, trials.Trial(), extractor)
    assert found["as prompted"]["mean"] == found["colour kept"]["mean"] == 1
    assert found["direction, made / prompted"]["mean"] == pytest.approx(0.95, abs=0.1)
    assert found["size, made / prompted"]["mean"] == pytest.approx(1, abs=0.05)
    assert found["FVD"]["mean"] == pytest.approx(0, abs=1e-3)
    assert found["KVD"]["mean"] == pytest.approx(0, abs=1e-3)
    assert found["seen"]["left"] == {"left": 2}
    against = figures.figures(true, scenes, trials.Trial(words="opposite"), extractor)
    assert against["as prompted"]["mean"] == 0
    assert against["direction, made / prompted"]["mean"] < -0.8
    still = np.repeat(true[:, :1], true.shape[1], axis=1)
    moved = figures.figures(still, scenes, trials.Trial(), extractor)
    assert moved["as prompted"]["mean"] == 0
    assert moved["first frame, dB"]["mean"] > 50 > moved["all frames, dB"]["mean"]
    assert moved["FVD"]["mean"] > 0


def test_attributes_are_read_in_the_order_of_their_names():
    extractor = SmallExtractor().eval().requires_grad_(False)
    extractor.motion.weight.zero_()
    extractor.motion.bias.copy_(torch.tensor([0.0, 0, 0, 1, 0, 0]))
    read = figures.read_attributes(extractor, torch.zeros(2, 64))
    assert read["motion"] == ["down", "down"]
    assert len(read["shape"]) == 2


def run(value: float, error: float = 0.1) -> dict[str, Any]:
    return {"first frame, dB": {"mean": value, "error": error}, "FVD": {"mean": value}}


def test_intervals_by_value():
    assert report.interval([run(1.0)], "FVD") == (1.0, None)
    assert report.interval([run(1.0)], "first frame, dB") == (1.0, pytest.approx(0.1959964))
    # 36 of 36: Wilson's interval is from 36 / (36 + z^2) to 1.
    every = {"as prompted": {"mean": 1.0, "error": 0.0, "n": 36}}
    assert report.interval([every], "as prompted") == (1.0, pytest.approx(0.0964, abs=1e-4))
    # Standard deviation 1, three values: 4.30265 / sqrt(3).
    mean, half = report.interval([run(1.0), run(2.0), run(3.0)], "FVD")
    assert (mean, half) == (2.0, pytest.approx(2.48414, abs=1e-5))


def test_tables_have_a_row_per_arm_and_intervals():
    lines = report.table({"a": [run(1.0)], "b": [run(1.0)] * 3}, ("first frame, dB",)).splitlines()
    assert lines[2] == "| a | 1 | 1.0 ± 0.2 |"
    assert lines[3] == "| b | 3 | 1.0 ± 0.0 |"
    seen = {"seen": {"left": {"left": 3, "none": 1}}}
    assert "| left | 75 % | 0 % | 0 % | 0 % | 0 % | 0 % | 25 % |" in report.confusion([seen])


def test_tables_go_between_the_marks_of_a_document():
    text = f"a\n{report.BEGIN}\nold\n{report.END}\nb\n"
    assert report.insert(text, "new") == f"a\n{report.BEGIN}\n\nnew\n{report.END}\nb\n"
    with pytest.raises(ValueError, match="add these two lines"):
        report.insert("a", "new")


def test_charts_show_the_values():
    gates = [[1.1, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0]] * 3
    (axes,) = charts.lambda_chart(gates).axes
    tops = [round(float(bar.get_y() + bar.get_height()), 6) for bar in axes.patches]  # type: ignore[attr-defined]
    assert tops == gates[0]
    cell = {"mean": 0.5, "error": 0.1, "n": 9}
    figure = {name: cell for name in (*charts.PANELS, *charts.HEAT_MAPS)}
    drawn = charts.arms_chart({FULL: {"": [figure] * 3}, "all layers": {"": [figure]}})
    assert drawn.axes[0].get_title() == "direction as prompted, %"
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [FULL, "all layers"]
    maps = charts.grid_chart({name: [figure] for name in trials.guidance_grid()}).axes
    assert [text.get_text() for text in maps[0].texts] == ["50"] * 9
    assert [text.get_text() for text in maps[1].texts] == ["0.5"] * 9
