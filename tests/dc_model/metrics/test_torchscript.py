"""TorchScript files are programs: which are loaded, and which are refused before they run."""

import io
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dc_model.device import DeviceError
from dc_model.metrics.torchscript import ScriptError, inspect_script, load_script


class Mean(nn.Module):
    def forward(self, videos: Tensor) -> Tensor:
        return videos.mean(dim=[2, 3, 4])


class Numbered(nn.Module):
    """Its layers' names are numbers, which the source looks up by `getattr`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU())

    def forward(self, videos: Tensor) -> Tensor:
        return self.layers(videos).mean(dim=[2, 3, 4])


class Writes(nn.Module):
    def forward(self, videos: Tensor) -> Tensor:
        torch.save(videos, "written.pt")
        return videos.mean(dim=[2, 3, 4])


class Reads(nn.Module):
    def forward(self, videos: Tensor) -> Tensor:
        return videos.mean(dim=[2, 3, 4]) + torch.from_file("secret", False, 4).sum()


class Reseeds(nn.Module):
    def forward(self, videos: Tensor) -> Tensor:
        torch.manual_seed(0)
        return videos.mean(dim=[2, 3, 4])


class Foreign(nn.Module):
    def forward(self, videos: Tensor) -> Tensor:
        return torch.ops.quantized.relu6(videos).mean(dim=[2, 3, 4])


def script(module: nn.Module, folder: Path) -> Path:
    path = folder / f"{type(module).__name__}.pt"
    torch.jit.script(module).save(str(path))  # type: ignore[union-attr]
    return path


def rewrite(source: Path, target: Path, old: bytes, new: bytes) -> Path:
    """A copy of an archive with some bytes of its code changed."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for member in before.infolist():
            content = before.read(member)
            changed = content.replace(old, new) if member.filename.endswith(".py") else content
            after.writestr(member, changed)
    return target


@pytest.mark.parametrize("module", [Mean(), Numbered()], ids=["plain", "numbered"])
def test_networks_are_loaded_and_compute(module: nn.Module, tmp_path: Path):
    videos = torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    loaded = load_script(script(module, tmp_path), "cpu")
    assert not loaded.training
    torch.testing.assert_close(loaded(videos), module.eval()(videos))


@pytest.mark.parametrize("device", ["foo", "meta"])
def test_a_device_that_is_not_there_is_no_fault_of_the_file(device: str, tmp_path: Path):
    with pytest.raises(DeviceError, match=f"The device '{device}' cannot be used .*; choose cpu"):
        load_script(script(Mean(), tmp_path), device)


def test_a_traced_network_is_loaded(tmp_path: Path):
    path = tmp_path / "traced.pt"
    torch.jit.trace(Numbered().eval(), torch.zeros(1, 3, 2, 2, 2)).save(str(path))  # type: ignore[union-attr]
    assert load_script(path, "cpu")(torch.zeros(5, 3, 2, 2, 2)).shape == (5, 4)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (Writes(), "'save'"),
        (Reads(), "'from_file'"),
        (Reseeds(), "'manual_seed'"),
        (Foreign(), "'ops.quantized'"),
    ],
    ids=["writes", "reads", "reseeds", "foreign"],
)
def test_code_that_reaches_out_is_refused(module: nn.Module, name: str, tmp_path: Path):
    with pytest.raises(ScriptError, match=f"uses {name}.*was not loaded"):
        load_script(script(module, tmp_path), "cpu")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"torch.save(videos", b'getattr(torch, "save")(videos'),
        (b"torch.save(videos", b"_torch = torch; _torch.save(videos"),
        (b"torch.save(videos", b'getattr(ops, "image").write_file(videos'),
        (b"torch.save(videos", b"_ops = ops; _ops.image.write_file(videos"),
        (b"torch.save(videos", b'getattr(torch, "sa" "ve")(videos'),
    ],
    ids=["getattr", "alias", "getattr-ops", "alias-ops", "joined"],
)
def test_hidden_names_are_refused(old: bytes, new: bytes, tmp_path: Path):
    path = rewrite(script(Writes(), tmp_path), tmp_path / "hidden.pt", old, new)
    with pytest.raises(ScriptError, match="was not loaded"):
        inspect_script(path)


def test_code_under_another_case_of_its_name_is_read(tmp_path: Path):
    source, target = script(Writes(), tmp_path), tmp_path / "upper.pt"
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for member in before.infolist():
            content = before.read(member)
            member.filename = member.filename.replace(".py", ".PY")
            after.writestr(member, content)
    with pytest.raises(ScriptError, match="uses 'save'"):
        inspect_script(target)


def test_native_objects_are_refused(tmp_path: Path):
    path = script(Mean(), tmp_path)
    other = tmp_path / "native.pt"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(other, "w") as after:
        for member in before.infolist():
            extra = b"c__torch__.torch.classes.a\nB\n" if "data.pkl" in member.filename else b""
            after.writestr(member, before.read(member) + extra)
    with pytest.raises(ScriptError, match="native classes"):
        inspect_script(other)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_parts_of_one_name_are_refused(tmp_path: Path):
    path = script(Mean(), tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].upper(), b"")
    with pytest.raises(ScriptError, match="doubled records"):
        inspect_script(path)


def test_other_files_are_named(tmp_path: Path):
    text, checkpoint = tmp_path / "text.pt", tmp_path / "checkpoint.pt"
    text.write_text("<html>not found</html>")
    torch.save({"weight": torch.zeros(2)}, checkpoint)
    with pytest.raises(ScriptError, match=r"text\.pt: It is not a TorchScript file"):
        inspect_script(text)
    with pytest.raises(ScriptError, match="without TorchScript code, probably a checkpoint"):
        inspect_script(checkpoint)
    with pytest.raises(ScriptError, match=r"gone\.pt: It cannot be read \(No such file"):
        inspect_script(tmp_path / "gone.pt")


def test_oversized_and_damaged_archives_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = script(Mean(), tmp_path)
    broken = rewrite(path, tmp_path / "broken.pt", b"torch.mean(", b"torch.no_such_operator(")
    with pytest.raises(ScriptError, match=r"broken\.pt: It cannot be loaded .*download it again"):
        load_script(broken, "cpu")
    unreadable = rewrite(path, tmp_path / "unreadable.pt", b"return", b"return return")
    with pytest.raises(ScriptError, match="code that cannot be read"):
        load_script(unreadable, "cpu")
    cut = tmp_path / "cut.pt"
    shutil.copy(path, cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(ScriptError, match="is not a TorchScript file"):
        inspect_script(cut)
    monkeypatch.setattr("dc_model.metrics.torchscript.MAX_FILE", 10)
    with pytest.raises(ScriptError, match="unpacks to"):
        inspect_script(path)


@pytest.mark.parametrize(
    "name",
    [
        *("save", "load", "from_file", "classes", "setattr", "hasattr", "__import__"),
        *("rpc_async", "rpc_sync", "rpc_remote", "manual_seed", "seed"),
        *("_cufft_set_plan_cache_max_size", "_cufft_clear_plan_cache"),
        *("AddStatValue", "PythonOp", "IgnoredPythonOp"),
    ],
)
@pytest.mark.parametrize("form", ["{}(x)", "torch.{}(x)", 'getattr(torch, "{}")(x)', "y = {}"])
def test_every_refused_name_is_refused_in_every_form(name: str, form: str, tmp_path: Path):
    code = form.format(name).encode()
    path = rewrite(script(Mean(), tmp_path), tmp_path / "named.pt", b"return", code + b"; return")
    with pytest.raises(ScriptError, match=f"uses '{name}'"):
        inspect_script(path)


def test_pickles_that_unpack_to_gigabytes_are_refused(tmp_path: Path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/code/x.py", "")
        archive.writestr("a/constants.pkl", bytes(64 * 2**20))
    with pytest.raises(ScriptError, match="more code than 16 MB"):
        inspect_script(path)


def test_the_archive_is_the_one_that_is_loaded(tmp_path: Path):
    """Another archive before it: a second reader could take that one."""
    path = script(Mean(), tmp_path)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ScriptError, match="download"):
        inspect_script(path)


def plain_archive(path: Path, more: bytes | None = None) -> bytes:
    """An archive as Python writes it, with one more record."""
    data = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(data, "w") as after:
        for member in before.infolist():
            after.writestr(member.filename, before.read(member))
        if more is not None:
            after.writestr(f"{before.namelist()[0].partition('/')[0]}/extra/record", more)
    return data.getvalue()


def test_a_program_of_another_format_around_the_archive_is_refused(tmp_path: Path):
    """The loader goes by bytes 4 to 8, and a flatbuffer's first four say where it starts."""
    writes = torch.jit.script(Writes())
    program = bytes(torch._C._save_jit_module_to_bytes(writes._c, {}))
    good = script(Mean(), tmp_path)
    paddings = (plain_archive(good, bytes(pad) + program) for pad in range(64))
    data = next(d for d in paddings if (8 + d.find(program)) % 64 == 0)
    start = 8 + data.find(program) + int.from_bytes(program[:4], "little")
    path = tmp_path / "prefixed.pt"
    path.write_bytes(struct.pack("<I", start) + b"PTMF" + data)
    with pytest.raises(ScriptError, match="not where its directory says"):
        load_script(path, "cpu")


def large_end(count: int, length: int, start: int) -> bytes:
    return struct.pack(
        "<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start
    )  # fmt: skip


def moved(archive: bytes, start: int) -> bytes:
    """An archive's records and directory for another start, with a large end."""
    count, length, offset = struct.unpack("<HLL", archive[-12:-2])
    data, at = bytearray(archive[:-22]), offset
    while at < len(data):
        place = int.from_bytes(data[at + 42 : at + 46], "little") + start
        data[at + 42 : at + 46] = place.to_bytes(4, "little")
        at += 46 + sum(struct.unpack("<HHH", data[at + 28 : at + 34]))
    return bytes(data) + large_end(count, length, start + offset)


def large(archive: bytes, place: int | None = None) -> bytes:
    """An archive with the end of a large one, whose record is said to lie at `place`."""
    count, length, start = struct.unpack("<HLL", archive[-12:-2])
    place = start + length if place is None else place
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, place, 1)
    end = b"PK\5\6" + bytes(4) + b"\xff" * 12 + bytes(2)
    return archive[:-22] + large_end(count, length, start) + locator + end


def test_a_second_directory_that_only_the_loader_finds_is_refused(tmp_path: Path):
    """Python takes the record before the end, PyTorch follows the number that says where it is."""
    good, evil = script(Mean(), tmp_path), plain_archive(script(Writes(), tmp_path))
    inner = moved(evil, 0)
    inner = moved(evil, plain_archive(good, inner).find(inner))
    whole = plain_archive(good, inner)
    path = tmp_path / "second.pt"
    path.write_bytes(large(whole, whole.find(inner) + len(inner) - 56))
    with pytest.raises(ScriptError, match="an end that points to another directory"):
        load_script(path, "cpu")


def test_the_end_of_a_large_archive_is_read(tmp_path: Path):
    path = script(Numbered(), tmp_path)
    path.write_bytes(large(plain_archive(path)))
    assert load_script(path, "cpu")(torch.zeros(5, 3, 2, 2, 2)).shape == (5, 4)


@pytest.mark.parametrize("field", [*range(4, 13, 2), 16, 20])
def test_an_end_that_states_anything_else_is_refused(field: int, tmp_path: Path):
    path = script(Mean(), tmp_path)
    data = bytearray(plain_archive(path))
    data[len(data) - 22 + field] ^= 1
    path.write_bytes(data)
    with pytest.raises(ScriptError, match=r"download|TorchScript file"):
        inspect_script(path)


def test_what_is_loaded_is_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file changes after the look at it."""
    path, evil = script(Mean(), tmp_path), script(Writes(), tmp_path)
    load = torch.jit.load

    def swapped(place: str, **options: object) -> object:
        evil.replace(path)
        return load(place, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.jit, "load", swapped)
    assert "save" not in load_script(path, "cpu").code
    assert not evil.exists()


def test_a_network_with_other_letters_in_its_name_and_packed_members_is_loaded(tmp_path: Path):
    source = script(Numbered(), tmp_path).rename(tmp_path / "größe 模型.pt")
    torch.jit.load(str(source)).save(str(source))
    path = tmp_path / "packed.pt"
    with (
        zipfile.ZipFile(source) as before,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for member in before.infolist():
            after.writestr(member.filename, before.read(member))
    videos = torch.rand(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.jit.load(str(source)).eval()(videos)
    for file in (source, path):
        assert torch.equal(load_script(file, "cpu")(videos), expected)


def test_no_copy_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    load_script(script(Mean(), tmp_path), "cpu")
    with pytest.raises(ScriptError, match="uses 'save'"):
        load_script(script(Writes(), tmp_path), "cpu")
    assert not list((tmp_path / "temporary").iterdir())
