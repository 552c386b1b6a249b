"""The three CONDITIONINGs of a video, and what our nodes add to them (`keys`)."""

from typing import NamedTuple

import node_helpers

from .protocols import Conditioning, Values


class Conditionings(NamedTuple):
    """What steers a video. image_only: the image's context with the negative's text, or None."""

    positive: Conditioning
    negative: Conditioning
    image_only: Conditioning | None = None

    def with_values(self, values: Values) -> "Conditionings":
        """Copies with `values` in every entry's settings."""
        image_only = None if self.image_only is None else with_values(self.image_only, values)
        return Conditionings(
            with_values(self.positive, values), with_values(self.negative, values), image_only
        )


def with_values(conditioning: Conditioning, values: Values) -> Conditioning:
    """A copy of a CONDITIONING with `values` in every entry's settings."""
    return node_helpers.conditioning_set_values(conditioning, dict(values))
