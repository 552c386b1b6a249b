"""Measures or counts the networks at their real size, with random weights.

python -m benchmarks            seconds and memory on this device, beside a plain implementation
python -m benchmarks --quick    the same for two frames and few repeats
python -m benchmarks --count    FLOPs, bytes and least time of one U-Net call; nothing is computed
python -m benchmarks --count --compiled    the same of what torch.compile makes of it, in minutes
python -m benchmarks --copies   who copies, by PyTorch's profiler on a smaller network
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dc_model.device import DeviceError, usable_device
from dc_model.shown import shown
from dc_model.variants import UNetArch

from . import chart, report
from .copies import copies_table
from .count_tables import count_table, operator_table
from .counting import SIZES, count_unet, latent_size
from .device import default_dtype, device_name, fastest_device, measure_rates
from .measure import PARTS, Plan, full_plan, measure, quick_plan
from .networks import Networks, Where
from .unet import peak_memory, workload

DTYPES = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
    "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16,
}  # fmt: skip


def main() -> None:
    """What the command line asks for."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.count:
        _print_counts(options.sizes or (("512",) if options.compiled else SIZES), options.compiled)
        return
    if options.copies:
        print(copies_table())
        return
    device = options.device or fastest_device()
    where = Where(device, DTYPES[options.dtype] if options.dtype else default_dtype(device))
    sizes = options.sizes or (("256",) if device.type == "cpu" else SIZES)
    if options.peak:
        _print_peak(where, sizes[0], options)
        return
    if options.chart:
        try:
            chart.require_matplotlib()
        except chart.NoChartError as error:
            sys.exit(str(error))
    found = run(where, sizes, options)
    print(report.text(found))
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.chart:
        chart.draw(found, options.chart)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", action="store_true", help="count, compute nothing")
    parser.add_argument("--compiled", action="store_true", help="with --count: by Inductor")
    parser.add_argument("--copies", action="store_true", help="share of copies in a step's time")
    parser.add_argument("--quick", action="store_true", help="few frames, few repeats")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, help="256 on a CPU, else all")
    parser.add_argument("--device", help="the GPU where there is one, else cpu")
    parser.add_argument("--dtype", choices=DTYPES, help="fp32 on a CPU, else bf16")
    parser.add_argument("--threads", type=int, help="PyTorch's threads on a CPU")
    parser.add_argument("--frames", type=int, help="length of the videos")
    parser.add_argument("--steps", type=int, help="steps of the whole run")
    parser.add_argument("--repeats", type=int, help="how often ours and the plain one run")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some parts, not all")
    parser.add_argument("--output", type=Path, metavar="JSON", help="file for the figures")
    parser.add_argument("--chart", type=Path, metavar="PNG", help="file for a chart")
    parser.add_argument("--peak", nargs=2, metavar=("KIND", "WHO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compiled and not options.count:
        parser.error("--compiled counts: add --count")
    for fault in _faults(options):
        parser.error(fault)
    return options


def _faults(options: argparse.Namespace) -> Iterator[str]:
    """What could fail only after the measuring, or would be taken for the default."""
    for name in ("threads", "frames", "steps", "repeats"):
        if (value := getattr(options, name)) is not None and value < 1:
            yield f"--{name} is {value}; give 1 or more"
    for name in ("output", "chart"):
        path = getattr(options, name)
        if path and (path.is_dir() or not path.parent.is_dir()):
            yield f"--{name} is {shown(path)}; give a file in a folder that exists"
    try:
        options.device = options.device and usable_device(options.device)
    except DeviceError as error:
        yield str(error)


def run(where: Where, sizes: tuple[str, ...], options: argparse.Namespace) -> dict[str, Any]:
    """All figures, with what they were taken on."""
    with torch.inference_mode():
        rates = measure_rates(where)
    return {
        "device": device_name(where.device),
        "dtype": str(where.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "rates": asdict(rates),
        "sizes": [
            measure(name, Networks(), where, _plan(name, where, options), rates, _say(name))
            for name in sizes
        ],
    }


def _plan(name: str, where: Where, options: argparse.Namespace) -> Plan:
    plan = quick_plan(name) if options.quick else full_plan(name, where.device.type == "cpu")
    if options.frames:
        plan = replace(plan, work=replace(plan.work, frames=options.frames))
    plan = replace(plan, steps=options.steps or plan.steps, repeats=options.repeats or plan.repeats)
    return replace(plan, parts=options.only or plan.parts)


def _say(name: str):
    return lambda part: print(f"{name}: {part} ...", file=sys.stderr, flush=True)


def _print_peak(where: Where, name: str, options: argparse.Namespace) -> None:
    kind, who = options.peak
    work = workload(name, options.frames)
    with torch.inference_mode():
        print(json.dumps(peak_memory(Networks().of_size(name), where, work, kind, who)))


def _print_counts(sizes: tuple[str, ...], compiled: bool) -> None:
    counted = count_unet
    if compiled:
        from .compiled import count_compiled as counted  # Inductor takes seconds to import.
    costs = {name: counted(UNetArch(), latent_size(name)) for name in sizes}
    print(count_table(costs))
    for name, cost in costs.items():
        print(f"\n{name}:\n{operator_table(cost)}")


if __name__ == "__main__":
    main()
