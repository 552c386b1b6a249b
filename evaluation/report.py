"""One HTML page with everything: table, intervals, charts, frames, protocol, versions.

It stands alone (no scripts, no links to other files) and holds no dates: the same results give the
same bytes.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dc_model.preprocess import eight_bit
from dc_model.shown import shown
from dc_model.video.frame_strip import frame_strip
from training.files import write_text

from . import charts
from .command import EvaluationError
from .published import PAPER_TABLE

REPORT = "report.html"
TEMPLATE = Path(__file__).with_name("report.html.jinja")
# Of a strip: more would be too small to see on a page.
STRIP_FRAMES, STRIP_HEIGHT = 8, 128
LOWER_IS_BETTER, HIGHER_IS_BETTER = ("fvd", "kvd", "flicker"), ("pic", "first_frame", "clip")


def write_report(folder: Path, results: Mapping[str, Any], strips: Sequence[Any]) -> Path:
    """strips: as `strips_of` gives them. Raises EvaluationError without Jinja."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise EvaluationError(
            f"The report needs Jinja ({shown(error)}): python -m pip install jinja2; the figures "
            "are in results.json."
        ) from error
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"figure": number, "interval": interval, "arrow": arrow}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(
        results=results,
        strips=strips,
        charts=charts_of(results),
        paper=paper_rows(results),
    )
    path = folder / REPORT
    write_text(path, text)
    return path


def charts_of(results: Mapping[str, Any]) -> list[str]:
    """SVG of every figure, FVD over clips first; none without Matplotlib."""
    systems = results["systems"]
    try:
        by_clips = [charts.fvd_by_clips(systems)] if any(s["curve"] for s in systems) else []
        return by_clips + [
            charts.intervals(systems, key, title)
            for key, title in results["columns"].items()
            if any(key in system["figures"] for system in systems)
        ]
    except ImportError:
        return []


def paper_rows(results: Mapping[str, Any]) -> Mapping[str, Sequence[float]]:
    """The paper's table where the protocol is the paper's."""
    data = str(results["protocol"]["data"]).split(",")[0]
    return PAPER_TABLE.get(data, {}) if results["preset"] == "paper" else {}


def strips_of(
    captions: Mapping[int, str],
    systems: Sequence[str],
    frames: Callable[[str, int], Tensor | None],
) -> list[dict[str, Any]]:
    """By clip its caption, and by system a strip of frames as a data URI; None: not made.

    frames: a system's clip `[T, 3, H, W]` in [0, 1], or None.
    """
    return [
        {
            "number": number,
            "caption": caption,
            "rows": [(name, data_uri(frames(name, number))) for name in systems],
        }
        for number, caption in captions.items()
    ]


def data_uri(clip: Tensor | None) -> str | None:
    """Evenly chosen frames side by side, as a picture inside the page."""
    if clip is None:
        return None
    from PIL import Image

    strip = frame_strip(clip[None], STRIP_FRAMES, min(STRIP_HEIGHT, clip.shape[-2]))
    pixels = eight_bit(strip * 2 - 1).permute(1, 2, 0)
    picture = Image.fromarray(pixels.contiguous().numpy())
    out = io.BytesIO()
    picture.save(out, format="WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def number(value: float | None) -> str:
    """Four digits that mean something."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 4
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None:
        return "too few clips"
    return f"{number(figure['low'])} to {number(figure['high'])}"


def arrow(key: str) -> str:
    """Which way is better, after a column's name."""
    down, up = "\N{DOWNWARDS ARROW}", "\N{UPWARDS ARROW}"
    return down if key in LOWER_IS_BETTER else up if key in HIGHER_IS_BETTER else ""
