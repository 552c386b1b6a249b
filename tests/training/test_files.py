import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from training_helpers import tiny_config, tiny_trainer

from training.files import remove_abandoned, write_text, write_whole


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "a.safetensors", fail)
    assert list(tmp_path.iterdir()) == []


def _die_in_the_middle(folder: str) -> None:
    write_whole(Path(folder, "state.pt"), lambda _: os.kill(os.getpid(), signal.SIGTERM))


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_die_in_the_middle, args=(str(tmp_path),)
    )
    process.start()
    process.join()
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(f".{process.pid}.part")
    of_mine = left.name.replace(str(process.pid), str(os.getpid()))
    (tmp_path / of_mine).touch()
    kept = [
        left.name.replace(str(process.pid), str(os.getppid())),  # It still lives.
        f"state.pt.00000000.{process.pid}.part",
        f"state.pt.{process.pid}.part",
        "notes.part",
    ]
    for name in kept:
        (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_run_removes_what_an_earlier_one_left(tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_config(tmp_path, run={"steps": 1, "batch_size": 1}))
    seen = []
    write_whole(tmp_path / "x", lambda part: seen.append(part.name))
    (tmp_path / "x").rename(tmp_path / seen[0])
    trainer.train()
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    write_text(path, "old")
    seen = []

    def write(part: Path) -> None:
        part.write_text("new", encoding="utf-8")
        seen.append((path.read_text(encoding="utf-8"), list(path.parent.glob("*.txt"))))

    write_whole(path, write)
    assert seen == [("old", [path])]
    assert path.read_text(encoding="utf-8") == "new"
