"""The command that times the pack's import, with a host of empty modules."""

import sys
from pathlib import Path

import import_time
import pytest
from comfyui.setup import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    comfyui = tmp_path / "comfyui"
    for name in import_time.HOST_MODULES:
        file = comfyui.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (comfyui / "comfy" / "options.py").write_text("def enable_args_parsing(): pass")
    return Host(comfyui, Path(sys.executable))


def make_pack(folder: Path, code: str) -> Path:
    folder.mkdir()
    (folder / "__init__.py").write_text(code)
    return folder


def test_the_slower_pack_takes_longer(host: Host, tmp_path: Path) -> None:
    quick = make_pack(tmp_path / "quick", "import nodes")
    slow = make_pack(tmp_path / "slow", "import time; time.sleep(0.3)")
    found = import_time.measure(host, [quick, slow], 1)
    assert [len(times) for times in found.values()] == [1, 1]
    assert found[slow][0] > 300 > found[quick][0]
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_pack_that_cannot_be_imported_ends_it(host: Host, tmp_path: Path) -> None:
    broken = make_pack(tmp_path / "broken", "import nothing_of_this_name")
    with pytest.raises(SystemExit, match="nothing_of_this_name"):
        import_time.measure(host, [broken], 1)


@pytest.mark.parametrize("repeats", ["0", "-1"])
def test_without_a_repeat_there_is_nothing_to_report(
    repeats: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        import_time.main(["--repeats", repeats])
    assert f"--repeats is {repeats}; give 1 or more" in capsys.readouterr().err


def test_the_ratio_is_to_the_first() -> None:
    lines = list(import_time.report({Path("a"): [3.0, 1.0, 2.0], Path("b"): [4.0]}))
    assert lines == ["   2.0 ms (1.0 to 3.0), 1.00: a", "   4.0 ms (4.0 to 4.0), 2.00: b"]
