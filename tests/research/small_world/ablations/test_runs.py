from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from research.small_world.ablations import __main__ as program
from research.small_world.ablations.arms import ARMS, CELLS, FULL, THREE_STAGES, Arm, Plan, settings
from research.small_world.ablations.claims import CLAIMS, Side
from research.small_world.ablations.runs import (
    GATED,
    ArmBatchMaker,
    FastOnCpu,
    Runs,
    TimeConv,
    blurred,
)
from research.small_world.train.preset import NUM_GATES, new_model

QUICK = Plan(
    image_steps=1,
    base_steps=1,
    arm_steps=3,
    base_batch=1,
    batch_size=1,
    pool=2,
    clips=4,
    sampling_steps=1,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("questions"), plan=QUICK)


def part(state: dict[str, torch.Tensor], words: str) -> torch.Tensor:
    return state[f"unet.{words}"]


def batch_of(runs: Runs, arm: Arm, stage: int = -1) -> Any:
    chosen = arm.stages[stage][0]
    config = settings(QUICK, runs.folder / "none", 1, batch_size=1)
    maker = ArmBatchMaker.of(arm, chosen, config, runs.encoders)
    return maker([runs.source.load(0, 0)], [3])


def test_the_base_never_sees_a_picture(runs: Runs):
    for state in (runs.base(), runs.image_base()):
        assert (part(state, "input_blocks.0.0.weight")[:, 4:] == 0).all()
        assert (part(state, "input_blocks.0.0.weight")[:, :4] != 0).any()


def test_an_arm_starts_from_the_base_leaves_time_alone_and_is_kept(runs: Runs):
    state, base = runs.arm(FULL, 0).state_dict(), runs.base()
    temporal, spatial = "middle_block.2.norm.weight", "middle_block.0.in_layers.2.weight"
    assert (part(state, temporal) == part(base, temporal)).all()
    assert (part(state, spatial) != part(base, spatial)).any()
    again = runs.arm(FULL, 0).state_dict()
    assert all((again[k] == v).all() for k, v in state.items())
    assert len(program.gates(state)) == NUM_GATES


def test_three_stages_share_all_but_the_last(runs: Runs):
    runs.arm("three stages, equal in all", 0)
    runs.arm("three stages, equal last", 0)
    folders = {
        p.parent.relative_to(runs.folder / "arms").as_posix()
        for p in (runs.folder / "arms").glob("three*/*/model.pt")
    }
    shared = "three stages, equal in all 0"
    assert folders == {f"{shared}/{n}" for n in (1, 2, 3)} | {"three stages, equal last 0/3"}
    first = torch.load(runs.folder / "arms" / shared / "1" / "model.pt", weights_only=True)
    spatial = "middle_block.0.in_layers.2.weight"
    assert (part(first, spatial) == part(runs.image_base(), spatial)).all()


def test_an_arm_lacks_what_it_is_named_for_and_nothing_else(runs: Runs):
    full = batch_of(runs, ARMS[FULL])
    for name, arm in CELLS.items():
        batch = batch_of(runs, arm)
        assert torch.equal(batch.noisy, full.noisy), name
        assert torch.equal(batch.text, full.text), name
        assert (batch.image_tokens is not None) == arm.context, name
        assert (batch.concat is None) == (arm.dose == "none"), name
        if arm.dose != "none":
            assert torch.equal(batch.concat, full.concat) == (arm.dose == "full"), name
    speechless = batch_of(runs, ARMS["trained without text"])
    assert torch.equal(speechless.text, runs.encoders.text([""]))
    assert torch.equal(speechless.concat, full.concat)


def test_only_the_last_of_three_stages_has_visual_detail_guidance(runs: Runs):
    arm = ARMS["three stages, equal in all"]
    assert [stage for stage, _ in arm.stages] == list(THREE_STAGES)
    batches = [batch_of(runs, arm, number) for number in range(3)]
    assert [batch.concat is None for batch in batches] == [True, True, False]
    assert [batch.noisy.shape[2] for batch in batches] == [1, QUICK.num_frames, QUICK.num_frames]


def test_blur_leaves_means_and_no_detail():
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., ::2] = 1
    assert torch.allclose(blurred(picture), torch.full_like(picture, 0.5))


def test_convolutions_along_time_are_as_pytorchs():
    layer = TimeConv(8, 8, (3, 1, 1), padding=(1, 0, 0))
    x = torch.randn(2, 8, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.conv3d(x, layer.weight, layer.bias, padding=(1, 0, 0))
    assert torch.allclose(layer(x), expected, atol=1e-5)
    unet = new_model(0, GATED, QUICK.projection, FastOnCpu()).unet
    layers = [m for m in unet.modules() if isinstance(m, torch.nn.Conv3d)]
    assert all(isinstance(m, TimeConv) and m.kernel_size == (3, 1, 1) for m in layers)
    assert all(m.padding == (1, 0, 0) and m.stride == m.dilation == (1, 1, 1) for m in layers)


def test_nothing_else_is_run_from_a_base_below_the_gate(runs: Runs):
    measuring = program.Measuring(runs)
    with pytest.raises(SystemExit, match="at least 90% are needed"):
        measuring.require_base()


def test_arms_of_another_plan_are_not_mixed_in(tmp_path: Path):
    program.keep_plan(tmp_path, QUICK)
    program.keep_plan(tmp_path, replace(QUICK, base_steps=2))
    (tmp_path / "arms").mkdir()
    program.keep_plan(tmp_path, replace(QUICK, base_steps=2))
    with pytest.raises(SystemExit, match="arms with base_steps 2, not 1; clips 4, not 8"):
        program.keep_plan(tmp_path, replace(QUICK, clips=8))


def test_a_set_is_measured_once_and_every_clip_is_in_the_results(runs: Runs):
    measuring = program.Measuring(runs)
    side = Side(FULL, "opposite words")
    rows = measuring.rows(side, 0)
    assert len(rows) == QUICK.clips
    written = measuring.file(side, 0).stat().st_mtime_ns
    assert measuring.rows(side, 0) == rows
    assert measuring.file(side, 0).stat().st_mtime_ns == written
    results = measuring.results()
    assert results["rows"][FULL]["opposite words"] == {"0": rows}
    assert len(results["gates"][FULL]["0"]) == NUM_GATES


def test_gates_are_found_of_every_seed(runs: Runs, tmp_path: Path):
    measuring = program.Measuring(replace(runs, folder=tmp_path))
    for name in (f"{FULL} 3", f"{FULL} 12", "first frame, all layers 3"):
        file = tmp_path / "arms" / name / "1" / "model.pt"
        file.parent.mkdir(parents=True)
        torch.save({"unet.attn2.alpha": torch.zeros(())}, file)
    assert measuring.results()["gates"] == {
        FULL: {"12": [1.0], "3": [1.0]},
        "first frame, all layers": {"3": [1.0]},
    }


def test_every_set_that_a_claim_needs_is_made_once():
    made = [side for group in program.sides() for side in group]
    assert len(made) == len(set(made))
    tests = [test for claim in CLAIMS for test in claim.tests]
    assert {side for test in tests for side in (test.first, test.second)} <= set(made)
    assert {side.arm for side in made} == set(ARMS)


def test_a_claim_alone_needs_no_more_than_its_main_tests():
    first, stages, *_ = program.sides([CLAIMS[0], CLAIMS[5]])
    assert [str(side) for side in first] == [
        "first frame, motion words alone",
        "first frame, no VDG, context, motion words alone",
        "first frame, all layers, motion words alone",
    ]
    assert stages == []
