"""What a figure means: everything that changes it, printed with it."""

from typing import NamedTuple

# The paper's Table 1 has this many; a Frechet distance falls as clips are added.
PUBLISHED_CLIPS = 2048


class Protocol(NamedTuple):
    """How a set was measured. frame_stride: source frames between two frames of a clip.
    resolution: (height, width), before the extractor's own preprocessing."""

    dataset: str
    clips: int
    frames: int
    frame_stride: int
    resolution: tuple[int, int]
    extractor: str

    def __str__(self) -> str:
        height, width = self.resolution
        return (
            f"{self.dataset}: {self.clips} clips of {self.frames} frames, stride "
            f"{self.frame_stride}, {width}x{height}, {self.extractor}"
        )


class Distances(NamedTuple):
    """FVD and KVD of two sets, with how both were measured."""

    fvd: float
    kvd: float
    real: Protocol
    generated: Protocol

    def __str__(self) -> str:
        lines = [
            f"FVD = {self.fvd:.4f}",
            f"KVD = {self.kvd:.4f}",
            f"  real: {self.real}",
            f"  generated: {self.generated}",
        ]
        fewest = min(self.real.clips, self.generated.clips)
        if fewest < PUBLISHED_CLIPS:
            lines.append(
                f"  {fewest} clips: FVD falls as clips are added, compare equal numbers only "
                f"(published: {PUBLISHED_CLIPS})"
            )
        lines.append("  FVD: covariance / (N - 1); KVD: unbiased; both over all clips, no subsets")
        return "\n".join(lines)


class Conformity(NamedTuple):
    """The mean over videos of PIC, or of the same with another distance than the paper's.

    distance: by what the frames were compared. published: that it is the paper's DreamSim. fit: how
    the images were brought to the videos' size.
    """

    value: float
    videos: int
    frames: int
    resolution: tuple[int, int]
    fit: str
    distance: str
    published: bool

    def __str__(self) -> str:
        height, width = self.resolution
        name = "PIC" if self.published else "1 - distance"
        note = "" if self.published else "\n  not the published PIC, which uses DreamSim"
        return (
            f"{name} = {self.value:.4f}\n  {self.videos} videos of {self.frames} frames, "
            f"{width}x{height}, images fitted by {self.fit}, {self.distance}{note}"
        )
