"""Measures image-to-video systems by one protocol: `python -m evaluation FILE --output FOLDER`.

FILE describes the comparison (docs/evaluation.md). The folder gets the clips, `results.json` and
`report.html`. Stop it when you like: the same call continues, and `--part 0/4` to `--part 3/4`
share the clips among processes or machines; the call without `--part` measures and reports.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from dc_model.shown import shown

from .command import run, show, take_part
from .comparison import Comparison, load_comparison
from .figures import Meter, Row, differences, fill_figures, open_extractor
from .items import Items, Task, open_data
from .making import Making
from .measures import open_measures, titles
from .options import device as device_name
from .prompt_similarity import clip_name
from .protocol import Measured
from .report import number, strips_of, write_report
from .results import beside, labelled, read_results, results_of, write_results
from .store import require_same_settings
from .videos import ClipShape, VideoError, read_clip

TRUE = "true"


def main() -> None:
    arguments = parse()
    comparison = load_comparison(arguments.comparison)
    compare_systems(
        comparison, arguments.output, arguments.device, arguments.part, arguments.beside
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    parser.add_argument("comparison", type=Path, help="YAML or JSON")
    parser.add_argument("--output", type=Path, required=True, help="the run's folder")
    parser.add_argument("--device", type=device_name, default="cpu")
    parser.add_argument("--part", help="I/N: make every N-th clip only, from the I-th on")
    parser.add_argument(
        "--beside", type=Path, action="append", default=[], help="another run of this protocol"
    )
    return parser.parse_args()


def compare_systems(
    comparison: Comparison,
    output: Path,
    device: str = "cpu",
    part: str | None = None,
    others: Sequence[Path] = (),
) -> None:
    """Make what is missing, measure, report; with `part`, make that part only."""
    protocol = comparison.protocol
    beside_results = {name: read_results(path) for name, path in labelled(others).items()}
    extractor = open_extractor(protocol, device)
    source, data = open_data(protocol)
    measured = Measured(
        protocol=protocol,
        data=data,
        extractor=extractor.name if extractor else "",
        clip=clip_name(protocol.clip),
    )
    require_same_settings(output, measured.settings())
    items = Items(output / "clips" / TRUE, protocol, lambda: source)
    making = Making(output, comparison, items)
    numbers = making.cut(take_part(range(protocol.clips), part))
    for system in comparison.systems:
        making.make(system, numbers, device)
    if part is not None:
        return
    measures, missing = open_measures(protocol, device)
    meter = Meter(output / "features", protocol, measures, extractor)
    tasks = {n: items.task(n) for n in numbers}
    true = meter.row(TRUE, {n: task.video for n, task in tasks.items()}, tasks)
    rows = [_row(meter, making, system.name, tasks, true) for system in comparison.systems]
    columns = {"fvd": "FVD", "kvd": "KVD"} if extractor else {}
    results = results_of(
        comparison.title,
        measured,
        {**columns, **titles(measures)},
        rows,
        {row.name: differences(row, rows[0], true, protocol) for row in rows[1:]},
        making.failures,
        missing if extractor else {**missing, "FVD": NO_EXTRACTOR},
    )
    write_results(output, results)
    for name, other in beside_results.items():
        results = beside(results, other, name)
    path = write_report(output, results, _strips(making, items, numbers, comparison))
    for row in rows:
        figures = ", ".join(
            f"{results['columns'][k]} {number(v.value)}" for k, v in row.figures.items()
        )
        show(f"{row.name}: {len(row.clips)} clips, {figures}")
    show(f"Protocol {measured.hash()}; report: {shown(path)}")


NO_EXTRACTOR = (
    "FVD and KVD were not measured, since protocol.extractor is empty; give the TorchScript file "
    "of I3D."
)


def _row(meter: Meter, making: Making, name: str, tasks: Mapping[int, Task], true: Row) -> Row:
    videos = {n: making.clip(name, n) for n in tasks}
    row = meter.row(name, {n: v for n, v in videos.items() if v.exists()}, tasks)
    fill_figures(row, true, meter.protocol)
    return row


def _strips(
    making: Making, items: Items, numbers: Sequence[int], comparison: Comparison
) -> list[dict[str, object]]:
    protocol = comparison.protocol
    shape = ClipShape(frames=protocol.frames, resolution=protocol.size)

    def frames(name: str, number: int) -> Tensor | None:
        video = items.video(number) if name == "true clip" else making.clip(name, number)
        try:
            return read_clip(video, shape) if video.exists() else None
        except VideoError:
            return None

    captions = {n: items.get(n).clip.caption for n in numbers[: comparison.strips]}
    return strips_of(captions, ["true clip", *(s.name for s in comparison.systems)], frames)


if __name__ == "__main__":
    run(main)
