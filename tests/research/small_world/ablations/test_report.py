"""Across claims and charts: what figures make of the page."""

from dataclasses import replace

import numpy as np
import pytest

from research.small_world.ablations import charts, report
from research.small_world.ablations.claims import (
    CLAIMS,
    LAMBDA_CELL,
    MARGINS,
    Side,
    answer,
    is_decided,
    judged,
    latest,
    paired,
)
from research.small_world.ablations.figures import ENDPOINTS
from research.small_world.ablations.trials import guidance_grid, lambda_trials

SCENES = 24


def value(endpoint: str, high: bool) -> float:
    if endpoint in MARGINS:
        return 20.0 if high else 10.0
    return float(high)


def rows_for(claim, claim_is_right: bool, seeds: int = 3):
    rows = {}
    for test in claim.tests:
        up = (test.expected == "more") == claim_is_right
        for side, high in ((test.first, up), (test.second, not up)):
            clip = [value(name, high) for name in ENDPOINTS]
            trials = rows.setdefault(side.arm, {})
            trials[side.trial] = {str(seed): [clip] * SCENES for seed in range(seeds)}
    return rows


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_clear_difference_decides_a_claim_either_way(claim):
    for right, expected in ((True, "decided: as the paper"), (False, "decided: not as the paper")):
        found = judged(claim, rows_for(claim, right))
        assert is_decided(claim, found)
        assert answer(claim, found) == expected


def test_two_seeds_or_a_missing_set_decide_nothing():
    claim = CLAIMS[3]
    rows = rows_for(claim, True, seeds=2)
    assert answer(claim, judged(claim, rows)) == "not decided"
    rows = rows_for(claim, True)
    del rows["first frame"][""]
    assert answer(claim, judged(claim, rows)) == "not decided"


def test_every_claim_has_main_tests_on_known_endpoints():
    assert [claim.name[0] for claim in CLAIMS] == list("1234567")
    for claim in CLAIMS:
        assert any(test.main for test in claim.tests), claim.name
        assert all(test.endpoint in ENDPOINTS for test in claim.tests), claim.name
        assert len(set(claim.tests)) == len(claim.tests), claim.name


def test_what_was_named_afterwards_changes_no_planned_value_and_decides_nothing(rows):
    planned = CLAIMS[0]
    late = replace(planned.tests[0], endpoint="distance", main=False, afterwards=True)
    claim = replace(planned, tests=(*planned.tests, late))
    assert judged(claim, rows)[: len(planned.tests)] == judged(planned, rows)
    assert not any(t.main and t.afterwards for claim in CLAIMS for t in claim.tests)


def test_lambda_is_judged_by_the_middle_layers():
    main = [(t.first.trial, t.endpoint) for t in CLAIMS[2].tests if t.main]
    assert main == [
        ("motion words alone, middle lambda x 0", "nearest"),
        ("motion words alone, middle lambda x 2", "distance"),
    ]


def test_pairs_are_of_the_same_seeds_and_scenes():
    test = CLAIMS[3].tests[0]
    place = ENDPOINTS.index(test.endpoint)

    def clips(*values: float) -> list[list[float]]:
        return [[v if i == place else 0.0 for i in range(len(ENDPOINTS))] for v in values]

    rows = {
        test.first.arm: {test.first.trial: {"0": clips(1, 2, 3), "2": clips(4, 5, 6)}},
        test.second.arm: {test.second.trial: {"2": clips(7, 8), "1": clips(0, 0)}},
    }
    both = paired(rows, test)
    assert both is not None
    first, second = both
    assert np.array_equal(first, [[4, 5]]) and np.array_equal(second, [[7, 8]])
    assert paired({}, test) is None


@pytest.fixture
def rows():
    """Something for every set."""
    random = np.random.default_rng(0)
    tests = [test for claim in CLAIMS for test in claim.tests]
    sides = {side for test in tests for side in (test.first, test.second)}
    sides |= {Side(LAMBDA_CELL, name) for name in (*lambda_trials(), *guidance_grid())}
    rows = {}
    for side in sorted(sides, key=str):
        seeds = {s: random.random((SCENES, len(ENDPOINTS))).round(3).tolist() for s in "012"}
        rows.setdefault(side.arm, {})[side.trial] = seeds
    return rows


def results(rows):
    return {"plan": {"arm_steps": 10, "scenes": 1}, "endpoints": ENDPOINTS, "rows": rows}


def test_a_claim_is_answered_from_the_last_run_that_asked_it(rows):
    claim = CLAIMS[3]
    earlier, later = rows_for(claim, True), rows_for(claim, False)
    assert latest(claim, [rows, earlier]) is earlier
    assert latest(claim, [earlier, later]) is later
    half = {"first frame": later["first frame"]}
    assert latest(claim, [earlier, half]) is earlier
    del later["first frame"][""]
    assert latest(claim, [half, later]) == {}
    text = report.report([results(earlier), results(rows_for(CLAIMS[6], False))])
    assert (
        "| 4. Random frame | Is a random condition frame better than the first? | decided: as"
        in text
    )
    assert "| 7. Text | Does the text decide the motion? | decided: not as" in text
    assert text.count("### All means, 10 steps, scenes 1") == 2


def test_the_report_has_every_claim_and_says_how_many_are_decided(rows):
    text = report.report([results(rows)])
    count = sum(is_decided(claim, judged(claim, rows)) for claim in CLAIMS)
    assert text.startswith(f"**Decided at 95 %: {count} of 7 claims**")
    for claim in CLAIMS:
        assert f"### {claim.name}: " in text and claim.question in text
    assert "cfg 1" not in text


def test_figures_are_printed_in_their_units():
    rows = {"an arm": {"": {"0": [[0.5, 0.987, 1, 20.04, 21, 0.25]] * 2}}}
    text = report.table(rows, ENDPOINTS[:6])
    assert "| an arm | 1 | 50 % | 0.99 | 100 % | 20.0 dB | 21.0 dB | 25 % |" in text
    assert report.scaled(-0.125, "kind") == "-12"
    assert report.scaled(0.125, "picture") == "+0.1"


def test_answers_go_between_the_marks_of_a_document():
    text = f"a\n{report.BEGIN}\nold\n{report.END}\nb\n"
    assert report.insert(text, "new") == f"a\n{report.BEGIN}\n\nnew\n{report.END}\nb\n"
    with pytest.raises(ValueError, match="add these two lines"):
        report.insert("a", "new")


def test_charts_show_the_values(rows):
    gates = {LAMBDA_CELL: {"0": [1.1, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0]}}
    bars, *panels = charts.gates_chart(gates, rows).axes
    tops = [round(float(bar.get_y() + bar.get_height()), 6) for bar in bars.patches]  # type: ignore[attr-defined]
    assert tops == gates[LAMBDA_CELL]["0"]
    assert [np.asarray(line.get_xdata()).tolist() for line in panels[0].lines] == [
        [0.0, 0.5, 1.0, 2.0]
    ] * 2
    left, right = charts.claims_chart([rows]).axes
    main = [test for claim in CLAIMS for test in claim.tests if test.main]
    assert len(left.get_yticklabels()) == sum(t.endpoint not in MARGINS for t in main)
    assert len(right.get_yticklabels()) == sum(t.endpoint in MARGINS for t in main)
    for seeds in rows[LAMBDA_CELL].values():
        for clips in seeds.values():
            for clip in clips:
                clip[:] = [0.5] * len(clip)
    maps = charts.grid_chart(rows).axes
    assert [text.get_text() for text in maps[0].texts] == ["50"] * 9
    assert [text.get_text() for text in maps[1].texts] == ["0.5"] * 9
