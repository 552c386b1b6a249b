from pathlib import Path

import pytest

from training.files import write_text, write_whole


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "a.safetensors", fail)
    assert list(tmp_path.iterdir()) == []


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
