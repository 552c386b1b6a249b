"""Runs the GPU kit's parts: the `gpu` tests, a full-size run per size, the benchmark."""

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyui.cache import SetupError, say
from comfyui.client import ServerError
from comfyui.setup import PACK, find_host, install_tools
from gpu_kit_pack import COMMIT, make_folder
from gpu_kit_report import DONE, FAILED, LEFT_OUT, Report
from gpu_kit_sizes import Size, empty_page, timed_runs

PARTS = ("tests", "runs", "benchmark")
GOLDEN = PACK / "tests" / "golden"
MANIFESTS = GOLDEN / "manifests"
TINY = GOLDEN / "pipeline" / "512_frames8.json"
# Each with the seconds that it takes on a fast card; with fewer left it is left out. The larger
# sizes are one layout, so they share a file. Its name says which variant it is.
SIZES = (
    (Size("512", "animate", MANIFESTS / "dynamicrafter_512.json.gz"), 75),
    (Size("1024", "1024", MANIFESTS / "dynamicrafter_1024.json.gz"), 90),
    (Size("256", "256", MANIFESTS / "dynamicrafter_256.json.gz"), 75),
)
QUICK = {"width": 64, "height": 64, "frames": 4, "steps": 2}
QUICK_SIZES = ((Size("512", "animate", TINY, QUICK), 5),)
TESTS_SECONDS, BENCHMARK_SECONDS = 210.0, 240.0
MIN_SECONDS = 20.0
TIMED_OUT = -1000  # A status that no process has.
_MACHINE = """
import json, torch
from importlib import metadata
found = {"torch": torch.__version__, "CUDA": torch.version.cuda}
if torch.cuda.is_available():
    device = torch.cuda.get_device_properties(0)
    found |= {"device": device.name, "GiB": round(device.total_memory / 2**30, 1)}
    found["capability"] = f"{device.major}.{device.minor}"
    found["cuDNN"] = torch.backends.cudnn.version()
for name in ("torchvision", "transformers", "numpy", "av", "comfy-kitchen", "comfy-aimdo"):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = "not there"
print(json.dumps(found))
"""
# Without the checkout on the path, where its `nodes` would hide ComfyUI's. What a shell starts in
# the background ignores SIGINT, which here ends the tests in order.
_RUN_PYTEST = """
import signal, sys
del sys.path[0]
signal.signal(signal.SIGINT, signal.default_int_handler)
import pytest
raise SystemExit(pytest.main())
"""


@dataclass(frozen=True)
class Bench:
    """Where the parts run. environment: of their processes; it names the unpacked packages."""

    python: Path
    comfyui: Path
    work: Path
    environment: Mapping[str, str]
    cpu: bool
    quick: bool


def run(folder: Path, *, cpu: bool, quick: bool, parts: Sequence[str], minutes: float) -> Report:
    """Runs what fits into the minutes. Raises SetupError when nothing can run."""
    report = Report(folder.resolve(), minutes)
    make_folder(report.folder)
    with tempfile.TemporaryDirectory(prefix="gpu-kit-") as work:
        bench = set_up(Path(work), cpu=cpu, quick=quick)
        report.machine = machine(bench)
        report.write()
        for name in PARTS:
            if name in parts:
                say(f"{name} ({report.left:.0f} s left) ...")
                _PARTS[name](bench, report)
    say((report.folder / "report.txt").read_text(encoding="utf-8"))
    return report


def set_up(work: Path, *, cpu: bool, quick: bool) -> Bench:
    """Unpacks what the kit brings; from a plain checkout, takes the host of its tests."""
    kit = PACK.parent
    python, comfyui, site = Path(sys.executable), work / "comfyui", work / "site"
    if (kit / "comfyui.tar.xz").is_file():
        with tarfile.open(kit / "comfyui.tar.xz") as tar:
            tar.extractall(work, filter="data")
        unpack_missing(sorted((kit / "wheels").glob("*.whl")), site)
    else:
        host = find_host()
        python, comfyui, site = host.python, host.comfyui, install_tools(host)
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "PYTHONPATH": os.pathsep.join(paths),
        "COMFYUI_PATH": str(comfyui),
        "COMFYUI_FRONTEND": str(empty_page(work / "page")),
    }
    bench = Bench(python, comfyui, work, environment, cpu, quick)
    if not cpu and "device" not in machine(bench):
        raise SetupError("PyTorch finds no CUDA device here; give --cpu for a dry run.")
    return bench


def unpack_missing(wheels: Sequence[Path], site: Path) -> list[str]:
    """Unpacks the wheels of which this Python has no package; their names."""
    site.mkdir(parents=True, exist_ok=True)
    unpacked = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            modules = {module_of(name) for name in archive.namelist()} - {None}
            if any(importlib.util.find_spec(str(module)) is None for module in modules):
                archive.extractall(site)
                unpacked.append(wheel.name.split("-")[0])
    return unpacked


def module_of(name: str) -> str | None:
    """The module that a file of a wheel makes importable, or None: `av/x.py`, `simpleeval.py`."""
    top, inside, _ = name.partition("/")
    module = top if inside else top.removesuffix(".py")
    return module if module.isidentifier() else None


def machine(bench: Bench) -> dict[str, Any]:
    """Device and versions."""
    result = run_python(bench, ["-c", _MACHINE], timeout=120)
    if result.returncode:
        raise SetupError(f"{bench.python} cannot import torch: {result.stdout[-400:]}")
    found = json.loads(result.stdout.strip().splitlines()[-1])
    commit = PACK / COMMIT
    return {
        "device": f"CPU, {os.cpu_count()} cores",
        **found,
        "python": run_python(bench, ["-V"], timeout=30).stdout.split()[-1],
        "system": platform.platform(),
        "commit": commit.read_text("utf-8").strip() if commit.is_file() else "a checkout",
    }


def run_tests(bench: Bench, report: Report) -> None:
    """The tests marked `gpu`; without a GPU they are all skipped."""
    needed = 5.0 if bench.quick else MIN_SECONDS
    if not _enough_time(report, "tests", needed):
        return
    files = [p for p in (PACK / "tests").rglob("test_*.py") if "mark.gpu" in p.read_text("utf-8")]
    results = bench.work / "tests.xml"
    command = ["-c", _RUN_PYTEST, *map(str, files), "-m", "gpu", "-q", f"--junitxml={results}"]
    command += ["-p", "no:cacheprovider"]
    seconds = min(TESTS_SECONDS, report.left)
    result = run_python(bench, command, timeout=seconds, cwd=PACK)
    log = report.folder / "tests.log"
    log.write_text(result.stdout, encoding="utf-8")
    found = read_results(results) if results.is_file() else {}
    if result.returncode == TIMED_OUT:
        found["cause"] = f"stopped after {seconds:.0f} s"
    elif not found:
        found["cause"] = "pytest ended early"
    state = FAILED if found.get("failed") or "cause" in found else DONE
    report.add("tests", state, **found, log=log.name)


def read_results(file: Path) -> dict[str, Any]:
    """Counts and failed tests of a JUnit file."""
    suite = ElementTree.parse(file).getroot().find("testsuite")
    if suite is None:
        return {"passed": 0, "skipped": 0, "failed": ["no results"]}
    cases = list(suite.iter("testcase"))
    bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = [c for c in cases if c.find("skipped") is not None]
    return {
        "passed": len(cases) - len(bad) - len(skipped),
        "skipped": len(skipped),
        "failed": [f"{c.get('classname')}.{c.get('name')}" for c in bad],
        "seconds": float(suite.get("time", 0)),
    }


def run_sizes(bench: Bench, report: Report) -> None:
    """A video of each size through the real server, cold and warm, timed by node."""
    for size, seconds in QUICK_SIZES if bench.quick else SIZES:
        name = f"run {size.name}"
        if not _enough_time(report, name, seconds):
            continue
        found: dict[str, Any] = {}
        try:
            # Each size gets a server: one's memory would count as the next one's.
            timed_runs(
                size,
                found,
                comfyui=bench.comfyui,
                python=bench.python,
                work=bench.work,
                environment=bench.environment,
                cpu=bench.cpu,
                timeout=report.left,
            )
        except (ServerError, OSError) as error:
            report.add(name, FAILED, cause=str(error)[-2000:], **found)
        else:
            report.add(name, DONE, **found)


def run_benchmark(bench: Bench, report: Report) -> None:
    """`python -m benchmarks`, as a command."""
    if not _enough_time(report, "benchmark", 5.0 if bench.quick else MIN_SECONDS):
        return
    results = report.folder / "benchmark.json"
    results.unlink(missing_ok=True)
    command = ["-m", "benchmarks", "--output", str(results)]
    command += [
        "--device",
        "cpu" if bench.cpu else "cuda",
        *(["--quick"] if bench.quick else ["--sizes", "512"]),
    ]
    result = run_python(bench, command, min(BENCHMARK_SECONDS, report.left), PACK)
    (report.folder / "benchmark.log").write_text(result.stdout, encoding="utf-8")
    if result.returncode:
        cause = "stopped: too slow" if result.returncode == TIMED_OUT else result.stdout[-1000:]
        report.add("benchmark", FAILED, cause=cause, log="benchmark.log")
    else:
        report.add("benchmark", DONE, results=results.name, log="benchmark.log")


_PARTS = {"tests": run_tests, "runs": run_sizes, "benchmark": run_benchmark}


def _enough_time(report: Report, name: str, seconds: float) -> bool:
    if report.left >= seconds:
        return True
    cause = f"{report.left:.0f} s were left, {seconds:.0f} are needed"
    report.add(name, LEFT_OUT, cause=cause)
    return False


def run_python(
    bench: Bench, arguments: Sequence[str], timeout: float, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs the bench's Python with both streams in one; `TIMED_OUT` when it is stopped."""
    command = [str(bench.python), *arguments]
    process = subprocess.Popen(
        command,
        cwd=cwd or bench.work,
        env={**os.environ, **bench.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(command, process.returncode, output)
    except subprocess.TimeoutExpired:
        # pytest ends its servers on SIGINT.
        process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        return subprocess.CompletedProcess(command, TIMED_OUT, output)
    except BaseException:
        process.kill()
        raise
