"""The GPU kit: what it brings, what it leaves out, its report, and a dry run."""

import json
import sys
import time
import zipfile
from pathlib import Path
from subprocess import CompletedProcess

import gpu_kit
import gpu_kit_run as kit
import pytest
from comfyui.cache import SetupError
from comfyui.setup import PACK
from gpu_kit_pack import BINARY, PURE, is_wanted, pack, pins
from gpu_kit_report import DONE, FAILED, LEFT_OUT, Report

JUNIT = """<testsuites><testsuite time="3.5">
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><failure message="x"/></testcase>
<testcase classname="tests.a" name="three"><error message="x"/></testcase>
<testcase classname="tests.a" name="four"><skipped message="no card"/></testcase>
</testsuite></testsuites>"""


def bench(folder: Path) -> kit.Bench:
    return kit.Bench(Path(sys.executable), folder, folder, {"KIT": "here"}, cpu=True, quick=True)


# -- what it brings -------------------------------------------------------------------------------


def test_wheels_are_pinned_by_version_and_hash() -> None:
    lines = pins([*BINARY, *PURE])
    assert len(lines) == len(BINARY) + len(PURE)
    assert all("==" in line and "--hash=sha256:" in line and ";" not in line for line in lines)
    (av,) = (line for line in lines if line.startswith("av=="))
    assert int(av.removeprefix("av==").split(".")[0]) >= 18  # The entry for Python 3.11 and later.


def test_a_package_without_hashes_is_named() -> None:
    with pytest.raises(SetupError, match="lacks moon"):
        pins(["av", "moon"])


@pytest.mark.parametrize(
    "name",
    [
        *("dc_model/unet/unet.py", "scripts/gpu_kit.py", "benchmarks/__main__.py", "__init__.py"),
        *("tests/conftest.py", "tests/server/test_gpu_memory.py", "pyproject.toml"),
        *("tests/golden/manifests/dynamicrafter_512.json.gz", "nodes/load.py"),
        *("tests/golden/pipeline/512_frames8.json", "workflows/DynamiCrafter - Fast.json"),
    ],
)
def test_the_checkout_has_what_the_parts_read(name: str) -> None:
    assert (PACK / name).is_file()
    assert is_wanted(name)


@pytest.mark.parametrize(
    "name",
    [
        *("assets/demo/small_world.safetensors", "tests/golden/modules/vae_tiny.safetensors"),
        *("workflows/DynamiCrafter - Fast.jpg", "docs/speed.md", "web/docs/DynamiCrafterDDIM.md"),
    ],
)
def test_the_checkout_leaves_out_what_is_large(name: str) -> None:
    assert not is_wanted(name)


def test_tests_for_a_gpu_and_what_they_need_come_along() -> None:
    marked = [p for p in (PACK / "tests").rglob("test_*.py") if "mark.gpu" in p.read_text("utf-8")]
    names = [
        path.relative_to(PACK).as_posix() for path in marked if path.name != Path(__file__).name
    ]
    assert names and all(map(is_wanted, names))
    assert all(size.manifest.is_file() for size, _ in (*kit.SIZES, *kit.QUICK_SIZES))


def test_only_what_is_missing_is_unpacked(tmp_path: Path) -> None:
    for module in ("json", "surely_missing"):
        with zipfile.ZipFile(tmp_path / f"{module}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{module}/__init__.py", "")
            wheel.writestr(f"{module}-1.0.dist-info/METADATA", "")
    with zipfile.ZipFile(tmp_path / "surely_single-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("surely_single.py", "")
    site = tmp_path / "site"
    unpacked = kit.unpack_missing(sorted(tmp_path.glob("*.whl")), site)
    assert unpacked == ["surely_missing", "surely_single"]
    assert (site / "surely_missing" / "__init__.py").is_file()
    assert (site / "surely_single.py").is_file()
    assert not (site / "json").exists()


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(SetupError, match="there already"):
            pack(folder)


# -- the report -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "pack"])
@pytest.mark.parametrize("inside", ["file", "file/folder"])
def test_a_folder_that_cannot_be_made_is_named(
    command: str,
    inside: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["gpu_kit", command, str(tmp_path / inside)])
    monkeypatch.setattr(kit, "set_up", lambda *_, **__: pytest.fail("set up"))
    monkeypatch.setattr(gpu_kit.signal, "signal", lambda *_: None)
    assert gpu_kit.main() == 1
    assert "name a" in capsys.readouterr().err


def test_the_report_is_written_after_every_part(tmp_path: Path) -> None:
    report = Report(tmp_path / "made", minutes=9, machine={"device": "a card"})
    report.add("tests", DONE, passed=3, failed=[])
    first = json.loads((tmp_path / "made" / "report.json").read_text("utf-8"))
    assert first["machine"] == {"device": "a card"}
    assert first["parts"] == {"tests": {"state": "done", "passed": 3, "failed": []}}
    assert report.whole
    report.add("run 512", FAILED, cause="no memory", **{"first run": {"all": 1.234}})
    text = (tmp_path / "made" / "report.txt").read_text("utf-8")
    assert "device: a card" in text
    assert "run 512: failed\n  cause: no memory\n  first run:\n    all: 1.23" in text
    assert not report.whole


def test_failed_tests_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(JUNIT, encoding="utf-8")
    assert kit.read_results(tmp_path / "a.xml") == {
        "passed": 1,
        "skipped": 1,
        "failed": ["tests.a.two", "tests.a.three"],
        "seconds": 3.5,
    }


def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path) -> None:
    report = Report(tmp_path, minutes=0.05)
    for part in (kit.run_tests, kit.run_sizes, kit.run_benchmark):
        part(bench(tmp_path), report)
    assert list(report.parts) == ["tests", "run 512", "benchmark"]
    assert all(part["state"] == LEFT_OUT for part in report.parts.values())
    assert report.parts["tests"]["cause"] == "3 s were left, 5 are needed"
    assert report.whole


def test_tests_that_take_too_long_are_reported_as_far_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_bench: kit.Bench, _command: list[str], **_: object) -> "CompletedProcess[str]":
        (tmp_path / "tests.xml").write_text(JUNIT, encoding="utf-8")
        return CompletedProcess([], kit.TIMED_OUT, "...")

    monkeypatch.setattr(kit, "run_python", stopped)
    report = Report(tmp_path, minutes=1)
    kit.run_tests(bench(tmp_path), report)
    found = report.parts["tests"]
    assert (found["state"], found["passed"], found["cause"]) == (FAILED, 1, "stopped after 60 s")


# -- running --------------------------------------------------------------------------------------


def test_a_command_gets_the_environment_and_is_stopped_in_time(tmp_path: Path) -> None:
    code = "import os, time; print(os.environ['KIT'], flush=True); time.sleep(60)"
    started = time.monotonic()
    result = kit.run_python(bench(tmp_path), ["-c", code], timeout=1.0)
    assert time.monotonic() - started < 20
    assert result.returncode == kit.TIMED_OUT
    assert result.stdout.startswith("here\n")


def test_a_benchmark_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = iter((1, kit.TIMED_OUT))
    monkeypatch.setattr(
        kit, "run_python", lambda *_: CompletedProcess([], next(results), "no kernel")
    )
    report = Report(tmp_path, minutes=1)
    for cause in ("no kernel", "stopped: too slow"):
        kit.run_benchmark(bench(tmp_path), report)
        assert report.parts["benchmark"]["state"] == FAILED
        assert report.parts["benchmark"]["cause"] == cause


def test_the_command_line() -> None:
    options = gpu_kit.parse(["run", "--cpu", "--quick", "there"])
    assert (options.cpu, options.quick, options.minutes) == (True, True, 9.0)
    assert options.parts == kit.PARTS
    assert gpu_kit.parse(["pack", "there"]).folder == Path("there")


@pytest.mark.server
@pytest.mark.slow
def test_a_dry_run(comfyui: Path, tmp_path: Path) -> None:
    assert comfyui.is_dir()
    report = kit.run(tmp_path, cpu=True, quick=True, parts=["tests", "runs"], minutes=9)
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert {"device", "torch", "python", "transformers"} <= set(found["machine"])
    assert found["parts"]["tests"]["failed"] == [] and found["parts"]["tests"]["skipped"] > 0
    made = found["parts"]["run 512"]
    assert made["state"] == DONE, made
    for name in ("first run", "second run"):
        assert made[name]["DynamiCrafterSampler"] > 0
        assert made[name]["DynamiCrafterVideoDecode"] > 0
    assert "DynamiCrafterCheckpointLoader" not in made["second run"]
    assert made["settings"]["steps"] == 2
    assert report.whole
