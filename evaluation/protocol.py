"""A protocol as data: which clips are compared and how they are measured.

Published figures of "the same" measure differ by a factor of two with these settings, so a protocol
has a hash, stands beside every figure, and results of two protocols are not put into one table.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from dc_model.shown import shown
from training.config import Count, NonEmpty, Section, Side

# A distance of two sets needs as many.
Clips = Annotated[int, Field(ge=2)]
Kind = Literal["ucf101", "msrvtt", "folder", "table"]

# From the authors' answers in Doubiiu/DynamiCrafter, issues 6 and 10, and those of
# thu-ml/cond-image-leakage, issue 11, who changed the stride that the model is told.
_PAPER = {"clips": 2048, "frames": 16, "stride": 3, "size": [256, 256]}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": _PAPER,
    "cil_stride_3": {**_PAPER, "conditioning_stride": 3},
    "cil_stride_8": {**_PAPER, "conditioning_stride": 8},
    "msrvtt_all": {**_PAPER, "clips": 2990},
}


class DataSet(Section):
    """Captioned videos. kind: how `path` is to be read."""

    kind: Kind
    path: str


class Protocol(Section):
    """Everything that changes a figure.

    preset: whose settings stand where none is given. stride: source frames from one frame of a clip
    to the next. conditioning_stride: what the model gets instead. size: (height, width) of clips.
    extractor: a TorchScript file, or empty, then FVD and KVD are not measured.
    covariance: what FVD divides by. resamples: draws for the intervals. clip: the folder of a CLIP
    model, or empty, then the similarity to the prompt is not measured.
    """

    preset: str = ""
    data: DataSet
    clips: Clips = 2048
    frames: Count = 16
    stride: Count = 3
    conditioning_stride: Count | None = None
    size: tuple[Side, Side] = (256, 256)
    seed: Annotated[int, Field(ge=0)] = 123
    extractor: str = ""
    preprocessing: Literal["i3d", "none"] = "i3d"
    pic: Literal["dreamsim", "pixels"] = "dreamsim"
    covariance: Literal["N - 1", "N"] = "N - 1"
    resamples: Annotated[int, Field(ge=100)] = 1000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    clip: str = ""

    @property
    def divisor(self) -> int:
        """What is taken off N where covariances are divided."""
        return 1 if self.covariance == "N - 1" else 0


class Measured(Section):
    """A protocol with what its files hold: it means the same on another machine.

    data: name, number and hash of the captioned videos. extractor, clip: as the figures name them.
    """

    protocol: Protocol
    data: NonEmpty
    extractor: str
    clip: str = ""

    def settings(self) -> dict[str, Any]:
        """What decides the figures, without paths and the preset's name."""
        own = {"preset", "data", "extractor", "clip"}
        values = self.protocol.model_dump(mode="json", exclude=own)
        named = {"clip": self.clip} if self.clip else {}
        return {"data": self.data, "extractor": self.extractor, **values, **named}

    def hash(self) -> str:
        """Twelve hexadecimal digits."""
        text = json.dumps(self.settings(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol's values over those of the preset that it names. Raises ValueError."""
    name = values.get("preset") or ""
    if name and (not isinstance(name, str) or name not in PRESETS):
        raise ValueError(f"protocol.preset is '{shown(name)}'; choose one of {', '.join(PRESETS)}.")
    return {**PRESETS.get(name, {}), **values}
