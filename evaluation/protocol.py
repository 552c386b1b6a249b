"""What a figure means: everything that changes it, printed with it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a set was measured. frame_stride: source frames between two frames of a clip."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedProtocol:
    """A protocol of the paper's Table 1. image_frame: the frame that conditions the model."""

    dataset: str
    clips: int = 2048
    frames: int = 16
    frame_stride: int = 3
    resolution: tuple[int, int] = (256, 256)
    image_frame: int = 0
    prompt: str = "caption"


# The authors' answers in their issue tracker: spec/users.md 4.2.
UCF101 = PublishedProtocol(dataset="UCF-101", prompt="class name")
MSRVTT = PublishedProtocol(dataset="MSR-VTT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A named value with its protocols."""

    metric: str
    value: float
    real: Protocol
    generated: Protocol

    def __str__(self) -> str:
        return (
            f"{self.metric} = {self.value:.4f}\n  real: {self.real}\n  generated: {self.generated}"
        )
