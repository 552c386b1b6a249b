"""From clips on disk to figures with intervals, and differences of systems on the same clips."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol as Interface

import torch
from torch import Tensor

from dc_model.metrics.features import ScriptedExtractor, file_hash
from dc_model.metrics.fvd import MIN_CLIPS
from dc_model.shown import shown

from .command import EvaluationError
from .intervals import (
    MIN_CLIPS as MIN_CLIPS_FOR_INTERVALS,
)
from .intervals import (
    Estimate,
    at_endless_clips,
    curve,
    draw_counts,
    frechet_of_draws,
    fvd_has_interval,
    kernel_of_draws,
    of_mean,
    reflected,
    studentized,
)
from .items import Task
from .measures import Measure
from .protocol import Protocol
from .store import cached
from .videos import ClipShape, VideoError, read_clip

log = logging.getLogger(__name__)


class Extractor(Interface):
    @property
    def name(self) -> str: ...

    def __call__(self, videos: Tensor) -> Tensor: ...


@dataclass
class Row:
    """What was measured of one system.

    measured: by measure and clip. features: `[D]` by clip. curve: numbers of clips and their FVD.
    """

    name: str
    clips: tuple[int, ...] = ()
    measured: dict[str, dict[int, float]] = field(default_factory=dict)
    features: dict[int, Tensor] = field(default_factory=dict)
    figures: dict[str, Estimate] = field(default_factory=dict)
    curve: tuple[tuple[int, ...], tuple[float, ...]] | None = None
    endless: float | None = None


def open_extractor(protocol: Protocol, device: str) -> Extractor | None:
    """The protocol's video network. Raises ValueError for a file that cannot serve."""
    if not protocol.extractor:
        return None
    path = Path(protocol.extractor)
    if not path.is_file():
        raise EvaluationError(
            f"protocol.extractor is '{shown(path)}', which is not a file; give the TorchScript "
            "file of I3D, or leave it empty to go without FVD and KVD."
        )
    return ScriptedExtractor(path, protocol.preprocessing, device)


@dataclass(frozen=True)
class Meter:
    """Measures clips; what was measured is kept below `folder`, by the files' content."""

    folder: Path
    protocol: Protocol
    measures: dict[str, Measure]
    extractor: Extractor | None

    def features_of(self, video: Path) -> Tensor:
        """`[D]`, float64. Raises VideoError."""
        assert self.extractor is not None
        extractor = self.extractor
        key = f"{extractor.name}|{file_hash(video)}|{self._shape()}"
        return cached(self.folder, key, lambda: extractor(self._read(video)[None])[0].cpu())

    def value_of(self, key: str, video: Path, task: Task) -> float:
        """One measure of one clip. Raises VideoError."""
        measure = self.measures[key]
        named = f"{key} {measure.by} {task.prompt}" if key == "clip" else f"{key} {measure.by}"
        text = f"{named}|{file_hash(video)}|{file_hash(task.video)}|{self._shape()}"

        def make() -> Tensor:
            picture = self._read(task.video)[0]
            return torch.tensor(measure.of(picture, self._read(video), task.prompt))

        return float(cached(self.folder, text, make))

    def row(self, name: str, videos: dict[int, Path], tasks: Mapping[int, Task]) -> Row:
        """All measures of a system's clips; broken files are named and left out."""
        row = Row(name)
        for number, video in videos.items():
            try:
                values = {key: self.value_of(key, video, tasks[number]) for key in self.measures}
                if self.extractor is not None:
                    row.features[number] = self.features_of(video)
            except VideoError as error:
                log.warning("%s: %s", shown(name), error)
                continue
            row.clips = (*row.clips, number)
            for key, value in values.items():
                row.measured.setdefault(key, {})[number] = value
        return row

    def _shape(self) -> ClipShape:
        return ClipShape(frames=self.protocol.frames, resolution=self.protocol.size)

    def _read(self, video: Path) -> Tensor:
        return read_clip(video, self._shape())


def fill_figures(row: Row, true: Row, protocol: Protocol) -> None:
    """Means, FVD and KVD of one system with their intervals."""
    for key, values in row.measured.items():
        row.figures[key] = of_mean(list(values.values()), protocol.confidence)
    numbers = [n for n in row.clips if n in true.features and n in row.features]
    if len(numbers) < MIN_CLIPS:
        return
    real, made = stacked(true, numbers), stacked(row, numbers)
    whole = torch.ones(1, len(numbers), dtype=torch.float64)
    fvd = float(frechet_of_draws(real, made, whole, protocol.divisor))
    kernel = kernel_of_draws(real, made, whole)
    row.figures["fvd"], row.figures["kvd"] = Estimate(fvd), Estimate(float(kernel.values))
    if len(numbers) < MIN_CLIPS_FOR_INTERVALS:
        return
    counts = draw_counts(len(numbers), protocol.resamples, protocol.seed)
    if fvd_has_interval(real):
        draws = frechet_of_draws(real, made, counts, protocol.divisor)
        row.figures["fvd"] = reflected(fvd, draws, len(numbers), protocol.confidence)
    kernels = kernel_of_draws(real, made, counts)
    row.figures["kvd"] = studentized(kernel, kernels, protocol.confidence)
    row.curve = curve(real, made, protocol.seed, protocol.divisor)
    row.endless = at_endless_clips(*row.curve)


def differences(row: Row, other: Row, true: Row, protocol: Protocol) -> dict[str, Estimate]:
    """`row` minus `other` for every figure, on the clips that both have."""
    found = {}
    for key in row.measured.keys() & other.measured.keys():
        one, two = row.measured[key], other.measured[key]
        pairs = [one[n] - two[n] for n in row.clips if n in two]
        if pairs:
            found[key] = of_mean(pairs, protocol.confidence)
    numbers = [n for n in row.clips if n in other.features and n in true.features]
    if len(numbers) < MIN_CLIPS_FOR_INTERVALS:
        return found
    real, made, second = (stacked(which, numbers) for which in (true, row, other))
    return found | _distance_differences(real, made, second, protocol)


def _distance_differences(
    real: Tensor, made: Tensor, other: Tensor, protocol: Protocol
) -> dict[str, Estimate]:
    counts = draw_counts(len(real), protocol.resamples, protocol.seed)
    whole = torch.ones(1, len(real), dtype=torch.float64)

    def frechet(rows: Tensor) -> Tensor:
        one, two = (frechet_of_draws(real, m, rows, protocol.divisor) for m in (made, other))
        return one - two

    kernels = [
        kernel_of_draws(real, made, rows) - kernel_of_draws(real, other, rows)
        for rows in (whole, counts)
    ]
    found = {
        "fvd": Estimate(float(frechet(whole))),
        "kvd": studentized(kernels[0], kernels[1], protocol.confidence),
    }
    if fvd_has_interval(real):
        draws, confidence = frechet(counts), protocol.confidence
        found["fvd"] = reflected(found["fvd"].value, draws, len(real), confidence)
    return found


def stacked(row: Row, numbers: Sequence[int]) -> Tensor:
    """Features `[N, D]` of these clips."""
    return torch.stack([row.features[n] for n in numbers]).double()
