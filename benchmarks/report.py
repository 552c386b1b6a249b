"""The figures as text. The same as JSON is what `measure` gives."""

from collections.abc import Iterator
from typing import Any

from .device import GIB

_UNITS = {"size": "latent {}", "frames": "{} frames", "videos": "{} videos"}


def text(found: dict[str, Any]) -> str:
    """All tables, in Markdown."""
    lines = [
        f"{found['device']}, {found['dtype']}, {found['threads']} threads, "
        f"PyTorch {found['torch']}; its own rates: {found['rates']['flops'] / 1e12:.3g} TFLOP/s in "
        f"a product, {found['rates']['bytes'] / 1e9:.3g} GB/s in a copy."
    ]
    for size in found["sizes"]:
        lines += ["", f"## {size['size']}, {size['frames']} frames", "", *_times(size)]
        lines += ["", *_summary(size)]
        for what, rows in size.get("growth", {}).items():
            lines += ["", f"| one call, by {what} | seconds | x |", "|---|---|---|"]
            for row in rows:
                label = _UNITS[what].format(row["value"])
                grown = row["seconds"] / rows[0]["seconds"]
                lines.append(f"| {label} | {row['seconds']:.3g} | {grown:.2f} |")
    return "\n".join(lines)


def _times(size: dict[str, Any]) -> Iterator[str]:
    yield "| part | seconds | spread | TFLOP/s | of the product's rate | of the copy's rate |"
    yield "|---|---|---|---|---|---|"
    for name in ("encoders", "decode"):
        if name in size:
            yield _row(name, size[name])
    for kind in ("call", "step"):
        for who in ("ours", "plain"):
            if who in size.get(kind, {}):
                yield _row(f"{kind}, {who}", size[kind][who])


def _row(name: str, times: dict[str, Any]) -> str:
    return (
        f"| {name} | {times['seconds']:.3g} | {times['spread']:.0%} | {times['tflops']:.3g} "
        f"| {times['of_product_rate']:.0%} | {times['of_copy_rate']:.0%} |"
    )


def _summary(size: dict[str, Any]) -> Iterator[str]:
    for kind in ("call", "step"):
        if "ratio" in size.get(kind, {}):
            yield f"- One {kind}: {size[kind]['ratio']:.2f} times as fast as the plain one."
    if "difference" in size:
        yield f"- The plain result differs from ours by {size['difference']:.1e} of its range."
    for what, peak in size.get("memory", {}).items():
        yield f"- Peak memory of one {what}, weights included: {peak / GIB:.2f} GiB."
    if "run" in size:
        yield f"- {_whole_run(size)}"


def _whole_run(size: dict[str, Any]) -> str:
    run = size["run"]
    ends = [size[part]["seconds"] for part in ("encoders", "decode") if part in size]
    return (
        f"Whole run of {run['steps']} steps: {run['sampling'] + sum(ends):.3g} s, "
        f"{run['sampling']:.3g} s of it sampling."
    )
