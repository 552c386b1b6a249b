import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from comfyui import cache as user_cache
from comfyui.cache import SetupError, cache_folder, whole_or_absent


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def things(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if p.name != "lock")


def write_note(folder: Path) -> None:
    (folder / "note").write_text("whole")


def test_builds_once(cache: Path):
    builds = []

    def build(folder: Path) -> None:
        builds.append(folder)
        write_note(folder)

    first = whole_or_absent("thing", build, needs_gigabytes=0)
    assert whole_or_absent("thing", build, needs_gigabytes=0) == first == cache / "thing"
    assert (first / "note").read_text() == "whole"
    assert len(builds) == 1


@pytest.mark.parametrize("error", [SetupError("no"), KeyboardInterrupt()])
def test_a_break_leaves_nothing(cache: Path, error: BaseException):
    def build(folder: Path) -> None:
        write_note(folder)
        assert not (cache / "thing").exists()
        raise error

    with pytest.raises(type(error)):
        whole_or_absent("thing", build, needs_gigabytes=0)
    assert things(cache) == []


def test_what_a_killed_run_left_goes(cache: Path):
    (cache / "building-old").mkdir(parents=True)
    whole_or_absent("thing", write_note, needs_gigabytes=0)
    assert things(cache) == ["thing"]


def test_rebuilds_what_does_not_serve(cache: Path):
    (cache / "thing").mkdir(parents=True)
    folder = whole_or_absent(
        "thing", write_note, needs_gigabytes=0, serves=lambda f: (f / "note").exists()
    )
    assert (folder / "note").exists()
    assert things(cache) == ["thing"]


def test_too_little_disk(cache: Path):
    with pytest.raises(SetupError, match=r"has [\d.]+ GB of free disk but 1000000.0 GB are needed"):
        whole_or_absent("thing", write_note, needs_gigabytes=1e6)
    assert things(cache) == []


def test_full_disk_while_building(cache: Path):
    def build(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(SetupError, match=r"could not be written: .*No space left"):
        whole_or_absent("thing", build, needs_gigabytes=0)
    assert things(cache) == []


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="set XDG_CACHE_HOME to a folder that can"):
        whole_or_absent("thing", write_note, needs_gigabytes=0)


def test_without_xdg_the_home_folder_serves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "dynamicrafter"


def test_two_at_once_build_once(tmp_path: Path):
    # The one that builds continues once the other has said that it waits.
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from comfyui import cache as user_cache

        waits = Path(sys.argv[1])

        def say(text):
            print(text, flush=True)
            waits.touch()

        def build(folder):
            print("building", flush=True)
            deadline = time.monotonic() + 120
            while not waits.exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            (folder / "note").write_text("whole")

        user_cache.say = say
        print((user_cache.whole_or_absent("thing", build, 0) / "note").read_text())
    """)
    environment = {**os.environ, "PYTHONPATH": str(Path(user_cache.__file__).parents[1])}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "waits")],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sum(output.count("building") for output in outputs) == 1
    assert all("whole" in output for output in outputs)
    assert sum("waiting for it" in output for output in outputs) == 1


def test_the_lock_goes_with_its_process(tmp_path: Path):
    script = textwrap.dedent("""
        import os
        from comfyui.cache import whole_or_absent
        whole_or_absent("thing", lambda folder: os._exit(9), 0)
    """)
    environment = {**os.environ, "PYTHONPATH": str(Path(user_cache.__file__).parents[1])}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, timeout=300)
    assert killed.returncode == 9
    assert (whole_or_absent("thing", write_note, needs_gigabytes=0) / "note").exists()
    assert things(cache_folder()) == ["thing"]
