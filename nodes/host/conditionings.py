"""The three CONDITIONINGs of a video, and what our nodes add to them (`keys`)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import node_helpers


class Conditionings(NamedTuple):
    """What steers a video. image_only: the image's context with the negative's text, or None."""

    positive: Any
    negative: Any
    image_only: Any = None

    def with_values(self, values: Mapping[str, Any]) -> "Conditionings":
        """Copies with `values` in every entry's settings."""
        return Conditionings(*(with_values(conditioning, values) for conditioning in self))


def with_values(conditioning: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a CONDITIONING with `values` in every entry's settings; None stays None."""
    if conditioning is None:
        return None
    return node_helpers.conditioning_set_values(conditioning, dict(values))
