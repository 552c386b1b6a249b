"""The figures as a Markdown table, alone or inside a page."""

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures of the judge -->", "<!-- end of the figures -->"


def table(results: dict[str, Any]) -> str:
    """Markdown of what `judge` found: how, then a row for each figure."""
    ceilings = {
        # Against a picture, a true clip is without loss and the VAE's is the VAE's.
        name: {figure["name"]: figure for figure in found if figure["unit"] != "dB"}
        for name, found in results["ceilings"].items()
    }
    rows = [
        [
            figure["name"],
            _value(figure, figure["value"]),
            f"{_value(figure, figure['low'])} to {_value(figure, figure['high'])}",
            str(figure["count"]),
            _goal(figure),
            *(
                _value(same, same["value"]) if (same := known.get(figure["name"])) else ""
                for known in ceilings.values()
            ),
        ]
        for figure in results["figures"]
    ]
    head = ["", "reached", "95 % interval", "n", "goal", "true clips", "true clips, VAE alone"]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([_protocol(results), "", *(f"| {' | '.join(line)} |" for line in lines)])


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Puts the text between a page's two marks, or makes it the whole file."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in page and end in page:
        before, after = page.split(begin)[0], page.split(end)[1]
        text = f"{before}{begin}\n{text}\n{end}{after}"
    else:
        text += "\n"
    path.write_text(text, encoding="utf-8")


def _protocol(results: dict[str, Any]) -> str:
    counts, settings = results["counts"], results["settings"]
    many = counts["long"]
    long = f", {many} videos extended twice and {many} storyboards of three shots" if many else ""
    return (
        f"`{results['checkpoint']}` (sha256 {results['sha256'][:12]}) through ComfyUI "
        f"{results['comfyui']} with the shipped workflows, frames saved without loss: "
        f"{settings['width']} x {settings['height']}, {settings['steps']} steps, cfg "
        f"{settings['cfg']:g}, one fixed seed for each video. {counts['prompted']} held-out pairs "
        f"of picture and prompt, {counts['reversed']} of them again with the opposite word, "
        f"{counts['ends']} interpolations, {counts['ends']} loops{long}; the last two columns are "
        f"what {results['ceiling_clips']} perfect videos get."
    )


def _value(figure: dict[str, Any], value: float) -> str:
    if figure["unit"] == "%":
        return f"{100 * value:.1f} %"
    if figure["unit"] == "dB":
        return f"{value:.1f} dB"
    return f"{value:.3f}" if figure["unit"] else f"{value:.2f}"


def _goal(figure: dict[str, Any]) -> str:
    if figure["goal"] is None:
        return ""
    sign = "≤" if figure["at_most"] else "≥"
    units = {"%": f"{100 * figure['goal']:g} %", "dB": f"{figure['goal']:g} dB"}
    goal = units.get(figure["unit"], f"{figure['goal']:g}")
    return f"{sign} {goal} ({'reached' if figure['reached'] else 'not reached'})"
