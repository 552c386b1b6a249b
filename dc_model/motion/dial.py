"""How much moves, as one number from -1 to 1: what it sets for each relative of the model.

Source: docs/motion.md#the-dial.
"""

import math
from typing import NamedTuple

from ..shown import shown
from ..variants import Variant
from .clocks import ALL

MEANS = ("all", "speed", "lambda", "start")
# Lambda of the middle layers at the ends, as factors: the workflow *Lambda study* shows both.
STILLEST, LIVELIEST = 1.5, 0.5
# Published for DynamiCrafter by conditional image leakage (docs/method.md).
EARLIEST_START = 940


class Amount(NamedTuple):
    """What a position of the dial sets.

    speed: in the variant's unit; 0 is the model's own. middle: factor of lambda in the middle
    layers. start_timestep: 1 to 1000.
    """

    speed: int = 0
    middle: float = 1.0
    start_timestep: int = ALL


def amount(variant: Variant, motion: float, means: str = "all") -> Amount:
    """The settings of `variant` for `motion`, -1 stillest to 1 liveliest; 0 changes nothing.

    means: which of speed, lambda and start it sets, or all. Starting lower only adds motion, so
    below 0 it stays. Raises ValueError for values out of range.
    """
    if means not in MEANS:
        raise ValueError(f"means is '{shown(means)}'; choose one of {', '.join(MEANS)}.")
    if not -1 <= motion <= 1:
        raise ValueError(f"motion is {motion}; choose -1 to 1.")
    if motion == 0:
        return Amount()
    both = means == "all"
    far = LIVELIEST if motion > 0 else STILLEST
    return Amount(
        speed=_speed(variant, motion) if both or means == "speed" else 0,
        middle=1 + abs(motion) * (far - 1) if both or means == "lambda" else 1.0,
        start_timestep=_start(motion) if both or means == "start" else ALL,
    )


def _speed(variant: Variant, motion: float) -> int:
    """From the default to the end of the published range; fewer frames a second are more motion."""
    low, high = variant.speed_range
    more, less = (low, high) if variant.speed_unit == "fps" else (high, low)
    end = more if motion > 0 else less
    return math.floor(variant.speed + abs(motion) * (end - variant.speed) + 0.5)


def _start(motion: float) -> int:
    return round(ALL - max(0.0, motion) * (ALL - EARLIEST_START))
