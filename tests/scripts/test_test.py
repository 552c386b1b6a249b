"""The test runner, with the installed parts replaced."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from comfyui.cache import SetupError
from comfyui.setup import Host

LOOK = """
import os, sys

def test_look():
    assert os.environ["COMFYUI_PATH"] == {comfyui!r}
    assert {tools!r} in sys.path
    assert {root!r} not in sys.path and "" not in sys.path
    assert {passes}
"""


@pytest.fixture
def runner(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_tests", root / "scripts" / "test.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("passes", "status"), [(True, 0), (False, 1)])
def test_passes_arguments_and_status_on(
    runner: ModuleType,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passes: bool,
    status: int,
):
    tools, comfyui = tmp_path / "tools", tmp_path / "ComfyUI"
    tools.mkdir()
    monkeypatch.setattr(runner, "find_host", lambda: Host(comfyui, Path(sys.executable)))
    monkeypatch.setattr(runner, "install_tools", lambda _: tools)
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)
    test = tmp_path / "test_look.py"
    test.write_text(
        LOOK.format(comfyui=str(comfyui), tools=str(tools), root=str(root), passes=passes)
    )
    monkeypatch.setattr(sys, "argv", ["test.py", "-q", "-p", "no:cacheprovider", str(test)])
    assert runner.main() == status


def test_a_failed_set_up_is_one_sentence(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail() -> Host:
        raise SetupError("The disk is full.")

    monkeypatch.setattr(runner, "find_host", fail)
    assert runner.main() == 1
    assert capsys.readouterr().err == "The disk is full.\n"


def test_continuous_integration_runs_just_this(root: Path):
    assert "exec python3 scripts/test.py\n" in (root / ".ci" / "run").read_text()
