"""Lists of captioned videos as spreadsheets, data-frame libraries and archivers write them."""

import io
import lzma
import tarfile
from pathlib import Path

import pytest

from training.config import ConfigError
from training.data import entries
from training.data.entries import (
    MAX_CAPTION_BYTES,
    files_below,
    folder_entries,
    shard_entries,
    table_entries,
)

Row = tuple[str, str, str]


def rows(table: Path) -> list[Row]:
    return [(e.key, e.caption, e.motion_caption) for e in table_entries(table)]


@pytest.mark.parametrize(
    "content",
    [
        b"path,caption\na.mp4,a boat\nb.mp4,rain\n",
        b"\xef\xbb\xbfpath,caption\r\na.mp4,a boat\r\nb.mp4,rain\r\n",
        b"path;caption\na.mp4;a boat\nb.mp4;rain\n",
        b"path\tcaption\na.mp4\ta boat\nb.mp4\train\n",
        b"path|caption\na.mp4|a boat\nb.mp4|rain",
        b"Path, Caption\na.mp4, a boat\nb.mp4, rain\n\n",
        b'"PATH","CAPTION"\n"a.mp4","a boat"\n"b.mp4","rain"\n',
        b"number,caption,path,\n1,a boat,a.mp4,\n2,rain,b.mp4,\n",
        "path,caption\na.mp4,a boat\nb.mp4,rain\n".encode("utf-16"),
    ],
)
def test_tables_of_every_spreadsheet(tmp_path: Path, content: bytes):
    (tmp_path / "set.csv").write_bytes(content)
    assert rows(tmp_path / "set.csv") == [("a.mp4", "a boat", ""), ("b.mp4", "rain", "")]


def test_captions_may_hold_separators_quotes_and_lines(tmp_path: Path):
    (tmp_path / "set.csv").write_text(
        'path,caption,dynamic_wording\na.mp4,"a boat; ""Anna"", and\nrain",sails\n'
    )
    assert rows(tmp_path / "set.csv") == [("a.mp4", 'a boat; "Anna", and\nrain', "sails")]


def test_a_missing_caption_is_the_empty_one(tmp_path: Path):
    (tmp_path / "set.csv").write_text("path,caption,dynamic_wording\na.mp4\nb.mp4,\nc.mp4,x,,\n")
    assert rows(tmp_path / "set.csv") == [("a.mp4", "", ""), ("b.mp4", "", ""), ("c.mp4", "x", "")]
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for captions in ([None, "x"], [float("nan"), 1.5], [b"", b"x"]):
        table = pyarrow.table({"Path": ["a.mp4", "b.mp4"], "CAPTION": captions, "n": [1, 2]})
        parquet.write_table(table, tmp_path / "set.parquet")
        found = rows(tmp_path / "set.parquet")
        assert found[0] == ("a.mp4", "", "")
        assert found[1][1] in ("x", "1.5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,caption\na.mp4,x\n", r"set\.csv has the columns file, caption; it needs path"),
        (b"", r"has the columns none"),
        (b"a.mp4,a boat\n", "it needs path and caption in its first row"),
        (b"path,caption\na.mp4,x\n,y\n", r"set\.csv, row 3 has no path"),
        (
            b"path,caption\na.mp4,a boat\nb.mp4,rain, wind\n",
            r"set\.csv, row 3 has 3 cells for 2 columns; put a caption that holds ',' in double",
        ),
        (b"caption,path\nrain, wind,a.mp4\n", r"set\.csv, row 2 has 3 cells for 2 columns"),
        (b"path,caption\na.mp4,caf\xe9\n", r"set\.csv, line 2: byte 0xe9 is not UTF-8"),
        (b"path,caption\na.mp4," + b"x" * 200_000, "field larger than field limit"),
        (b"path,caption\na.mp4," + b"x" * 70_000, "has 70000 bytes, more than 65536"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "set.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        rows(tmp_path / "set.csv")


def test_broken_parquet_is_named(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "set.parquet"
    parquet.write_table(pyarrow.table({"path": ["a.mp4"], "caption": ["x"]}), path)
    content = path.read_bytes()
    for broken in (b"", b"not Parquet at all", content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(ConfigError, match=r"set\.parquet is not a whole Parquet file"):
            rows(path)
    parquet.write_table(pyarrow.table({"file": ["a.mp4"]}), path)
    with pytest.raises(ConfigError, match="has the columns file"):
        rows(path)
    parquet.write_table(pyarrow.table({"path": [None, "a"], "caption": ["x", "y"]}), path)
    with pytest.raises(ConfigError, match="row 1 has no path"):
        rows(path)


def test_captions_beside_videos(tmp_path: Path):
    for name, caption in (("a", b"\xef\xbb\xbfa boat \n"), ("b", "rain".encode("utf-16"))):
        (tmp_path / f"{name}.mp4").touch()
        (tmp_path / f"{name}.txt").write_bytes(caption)
    (tmp_path / "c.MP4").touch()
    (tmp_path / "folder.mp4").mkdir()
    found = [(e.key, e.caption) for e in folder_entries(tmp_path, 16)]
    assert found == [("a.mp4", "a boat"), ("b.mp4", "rain"), ("c.MP4", "")]
    (tmp_path / "c.txt").write_bytes(b"a caf\xe9")
    with pytest.raises(ConfigError, match=r"c\.txt, line 1: byte 0xe9 is not UTF-8"):
        folder_entries(tmp_path, 16)
    (tmp_path / "c.txt").write_bytes(b"x" * (MAX_CAPTION_BYTES + 1))
    with pytest.raises(ConfigError, match=r"caption c\.txt has 65537 bytes"):
        folder_entries(tmp_path, 16)


def test_links_that_lead_nowhere_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "b.mp4").touch()
    assert files_below(tmp_path, lambda p: p.suffix == ".mp4") == [tmp_path / "b.mp4"]
    assert "Skipped" in caplog.text and "a.mp4: the link leads nowhere" in caplog.text


def write_shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_shards_hold_videos_beside_captions(tmp_path: Path):
    files = {"a.mp4": b"one", "a.txt": b"a boat\n", "x/b.webm": b"two", "c.json": b"{}"}
    write_shard(tmp_path / "0.tar", files)
    found = shard_entries(tmp_path, 16)
    assert [(e.key, e.caption) for e in found] == [
        ("0.tar/a.mp4", "a boat"),
        ("0.tar/x/b.webm", ""),
    ]
    assert [e.open().read() for e in found] == [b"one", b"two"]


def test_shards_that_cannot_be_read_are_named(tmp_path: Path):
    shard = tmp_path / "0.tar"
    write_shard(shard, {"a.mp4": b"x" * 2000, "a.txt": b"\xe9"})
    with pytest.raises(ConfigError, match=r"0\.tar/a\.txt, line 1: byte 0xe9"):
        shard_entries(tmp_path, 16)
    write_shard(shard, {"a.mp4": b"x" * 2000, "b.mp4": b"x" * 2000})
    for broken in (b"no tar", shard.read_bytes()[:1000], lzma.compress(shard.read_bytes())):
        shard.write_bytes(broken)
        with pytest.raises(ConfigError, match=r"0\.tar is not a whole, uncompressed tar file"):
            shard_entries(tmp_path, 16)


def test_a_shards_caption_has_no_size_of_its_own_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A header may promise gigabytes in a few bytes; a sparse one really gives them."""
    huge = tarfile.TarInfo("a.txt")
    huge.size = 6 << 30
    (tmp_path / "0.tar").write_bytes(tarfile.TarInfo("a.mp4").tobuf() + huge.tobuf() + bytes(1024))
    monkeypatch.setattr(tarfile.TarFile, "extractfile", None)
    with pytest.raises(ConfigError, match=r"has 6442450944 bytes|not a whole"):
        shard_entries(tmp_path, 16)
    sparse = tarfile.TarInfo("a.txt")
    sparse.type = tarfile.GNUTYPE_SPARSE
    sparse.size = 0
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # the size that reading it would fill with zeros
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "0.tar").write_bytes(tarfile.TarInfo("a.mp4").tobuf() + bytes(header) + bytes(1024))
    assert [e.caption for e in shard_entries(tmp_path, 16)] == [""]


def test_cells_of_every_type():
    assert entries.as_text(7, "") == "7"
    assert entries.as_text(b" rain\n", "") == "rain"
    with pytest.raises(ConfigError, match="row 2, line 1: byte 0xff"):
        entries.as_text(b"\xff", "row 2")
