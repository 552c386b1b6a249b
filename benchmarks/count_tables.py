"""Counted costs as Markdown tables."""

from .counting import Cost


def count_table(costs: dict[str, Cost]) -> str:
    """The costs as a Markdown table."""
    lines = [
        "| model | TFLOP | GB moved | operators | least time | products alone | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        lines.append(
            f"| {name} | {cost.flops / 1e12:.2f} | {cost.bytes / 1e9:.1f} | {cost.operators} "
            f"| {cost.seconds * 1e3:.1f} ms | {cost.limit * 1e3:.1f} ms "
            f"| {cost.seconds / cost.limit:.2f} |"
        )
    return "\n".join(lines)


def operator_table(cost: Cost) -> str:
    """Where the time of one cost goes, as a Markdown table."""
    lines = ["| operator | least time | GB moved |", "|---|---|---|"]
    for name, seconds in sorted(cost.seconds_of.items(), key=lambda item: -item[1]):
        if seconds > 0.001 * cost.seconds:
            lines.append(f"| {name} | {seconds * 1e3:.2f} ms | {cost.bytes_of[name] / 1e9:.1f} |")
    return "\n".join(lines)
