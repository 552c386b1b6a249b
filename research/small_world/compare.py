"""The demo model compared with what it should differ from: a report by `evaluation`.

`python -m research.small_world.compare --output output/small_world_report`

Renders held-out scenes as a data set, exports the small extractor, and runs the comparison of
`configs/comparison.yaml`. Stopped and called again it continues.
"""

import argparse
import csv
import io
from pathlib import Path

from evaluation.__main__ import compare_systems
from evaluation.command import run
from evaluation.comparison import Comparison, load_comparison
from evaluation.videos import write_video
from training.files import write_text, write_whole

from .train.extractor import export, load_extractor
from .world.dataset import SmallWorld

CONFIG = Path(__file__).parent / "configs" / "comparison.yaml"
EXTRACTOR = Path(__file__).parents[2] / "assets" / "demo" / "small_extractor.safetensors"


def prepare(comparison: Comparison, folder: Path) -> Comparison:
    """Write the data set and the extractor; the comparison that reads them."""
    protocol = comparison.protocol
    source = SmallWorld(protocol.clips, protocol.seed, "held_out", protocol.frames)
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["path", "caption"])
    for number in range(len(source)):
        clip, video = source.load(number, 0), folder / f"{number:05d}.mp4"
        rows.writerow([video.name, clip.caption])
        if not video.exists():
            write_video(video, clip.frames, round(clip.fps))
    table, extractor = folder / "clips.csv", folder / "extractor.pt"
    write_text(table, text.getvalue())
    if not extractor.exists():
        write_whole(extractor, lambda part: export(load_extractor(EXTRACTOR), part))
    data = protocol.data.model_copy(update={"path": str(table)})
    changed = protocol.model_copy(update={"data": data, "extractor": str(extractor)})
    return comparison.model_copy(update={"protocol": changed})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--part", help="I/N: make every N-th clip only, from the I-th on")
    arguments = parser.parse_args()
    comparison = prepare(load_comparison(CONFIG), arguments.output / "data")
    compare_systems(comparison, arguments.output, part=arguments.part)


if __name__ == "__main__":
    run(main)
