"""Times in turn, and what is made of them."""

import torch

from benchmarks.timing import Times, in_turn, ratio


def test_runs_take_turns_and_the_order_turns_round() -> None:
    seen: list[str] = []
    runs = {name: (lambda name=name: seen.append(name)) for name in "ab"}
    times = in_turn(runs, 3, torch.device("cpu"))
    assert "".join(seen) == "abbaab"
    assert len(times["a"].repeats) == 3


def test_the_ratio_is_of_pairs_so_a_slow_minute_counts_for_both() -> None:
    slow, fast = Times([3.0, 30.0, 6.0]), Times([2.0, 20.0, 3.0])
    assert ratio(slow, fast) == 1.5


def test_spread() -> None:
    assert Times([1.0, 2.0, 4.0]).spread == 1.5
