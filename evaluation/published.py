"""The protocols of the paper's Table 1."""

from dataclasses import dataclass

from dc_model.metrics.report import PUBLISHED_CLIPS


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedProtocol:
    """Which clips are compared. From each video a random clip of `frames` frames, `frame_stride`
    apart, is cut and fitted to `resolution` (height, width); its first frame and `prompt` condition
    the model."""

    dataset: str
    prompt: str
    clips: int = PUBLISHED_CLIPS
    frames: int = 16
    frame_stride: int = 3
    resolution: tuple[int, int] = (256, 256)


# The authors' answers in Doubiiu/DynamiCrafter, issues 6 and 10; docs/metrics.md has the protocol.
PUBLISHED = {
    "ucf101": PublishedProtocol(dataset="UCF-101", prompt="class name"),
    "msrvtt": PublishedProtocol(dataset="MSR-VTT", prompt="caption"),
}

# Table 1 by data set: FVD, KVD, PIC of each system.
PAPER_TABLE = {
    "ucf101": {
        "VideoComposer": (576.81, 65.56, 0.5269),
        "I2VGen-XL": (571.11, 58.59, 0.5313),
        "DynamiCrafter": (429.23, 62.47, 0.6078),
    },
    "msrvtt": {
        "VideoComposer": (377.29, 26.34, 0.4460),
        "I2VGen-XL": (289.10, 14.70, 0.5352),
        "DynamiCrafter": (234.66, 13.74, 0.5803),
    },
}
