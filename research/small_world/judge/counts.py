"""How many videos of each sort, and which these are."""

from collections.abc import Iterator
from dataclasses import dataclass

from .long_videos import long_videos
from .pairs import LONG, Job, ends, prompted, reversed_prompts


@dataclass(frozen=True, slots=True)
class Counts:
    """How many videos of each sort; `long` of each workflow that makes 40 frames."""

    prompted: int = 200
    reversed: int = 60
    ends: int = 20
    long: int = 0

    def jobs(self) -> Iterator[Job]:
        """All of them, the prompted ones first."""
        yield from prompted(self.prompted)
        yield from reversed_prompts(self.reversed, self.prompted)
        yield from ends("interpolate", self.ends)
        yield from ends("loop", self.ends)
        for workflow in LONG:
            yield from long_videos(workflow, self.long)
