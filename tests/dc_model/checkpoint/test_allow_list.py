"""Across pickles and inspect: each kind that the allow list bars is refused by its name."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from checkpoint_files import read_or_refuse, refused, rewritten

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.pickles import read_pickle

# One file's GLOBALs as pickles write them.
REFUSED_NAMES = (
    *("posix.system", "os.system", "nt.system", "subprocess.Popen", "builtins.eval"),
    *("builtins.exec", "builtins.getattr", "builtins.bytearray", "__builtin__.bytearray"),
    *("builtins.range", "builtins.open", "codecs.open", "_codecs.decode", "functools.partial"),
    *("operator.attrgetter", "torch.load", "torch.Tensor", "torch.storage._load_from_bytes"),
    *("torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_qtensor"),
    *("torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_nested_tensor"),
    *("torch._utils._rebuild_device_tensor_from_numpy", "torch._utils._rebuild_wrapper_subclass"),
    "torch.nn.parameter.Parameter",
    *("torch.serialization._get_layout", "numpy.core.multiarray._reconstruct", "numpy.ndarray"),
    *("argparse.Namespace", "omegaconf.dictconfig.DictConfig"),
)
ALLOWED_INSTRUCTIONS = (
    b"\x80.(cQN\x88\x89JKM\x8aGXU]})t\x85\x86\x87qrhj"  # plain
    b"RbaesuU"  # with checks of our own
)
DEEP = b")" + b"\x85" * 200_000


def with_program(program: bytes, whole: dict[str, bytes], folder: Path) -> Path:
    return rewritten(
        whole["zip"],
        folder / "a.ckpt",
        lambda name, data: b"\x80\x02" + program + b"." if name.endswith("data.pkl") else data,
    )


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_every_other_name_is_refused_by_name(
    name: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    module, _, attribute = name.rpartition(".")
    message = refused(with_program(f"c{module}\n{attribute}\n".encode(), whole, tmp_path))
    assert f"holds {name}, " in message
    assert "can run code" in message


def test_every_other_instruction_is_refused() -> None:
    for code in range(256):
        if code not in ALLOWED_INSTRUCTIONS:
            program = io.BytesIO(b"\x80\x02}" + bytes([code]) + bytes(16) + b".")
            with pytest.raises(CheckpointError, match="holds the instruction"):
                read_pickle(program, lambda *_: pytest.fail("a storage was read"), 100)


PROGRAMS = {
    "a deep tuple as a key": (b"}" + DEEP + b"Ns", "(of type tuple), which is not read"),
    "deep tuples as keys": (b"}(" + DEEP + b"Nu", "(of type tuple), which is not read"),
    "a real as a key": (b"}G\x00\x00\x00\x00\x00\x00\x00\x00Ns", "no tensors"),
    "nothing as a key": (b"}NNs", "no tensors"),
    "a truth as a key": (b"}\x88Ns", "no tensors"),
    "a large number as a key": (b"}\x8a\x05\x00\x00\x00\x00\x01Ns", "no tensors"),
    "an object as a key": (b"}ccollections\nOrderedDict\n)RNs", "(of type object), which is not"),
    "a dict as a key": (b"}}Ns", "(of type dict), which is not read"),
    "bytes of any codec": (
        b"c_codecs\nencode\nX\x04\x00\x00\x00aaaaX\x04\x00\x00\x00hex!\x86R",
        "no tensors",
    ),
    "a set of a list": (b"cbuiltins\nset\n](" + b"K\x01" * 1000 + b"e\x85R", "no tensors"),
    "deep containers": (b"}X\x01\x00\x00\x00a" + DEEP + b"s", "more than 32 levels"),
    "attributes of a dict": (b"}}b", "attributes of a dict"),
    "attributes of a list": (b"]}b", "attributes of a list"),
    "attributes of a name": (b"ccollections\nOrderedDict\n}b", "attributes of a function"),
    "a call of a dict": (b"})R", "a call of a dict"),
    "a call of a type": (b"ctorch\nfloat32\n)R", "a call of a dtype"),
    "an ordered dict of pairs": (
        b"ccollections\nOrderedDict\n](N" + DEEP + b"\x86e\x85R",
        "is damaged",
    ),
    "items of a tuple": (b"))a", "is damaged"),
    "items of a number": (b"K\x01NNs", "is damaged"),
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_every_other_thing_is_refused(name: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    program, fragment = PROGRAMS[name]
    assert fragment in refused(with_program(program, whole, tmp_path))


def test_a_file_cannot_choose_the_hashes_of_its_keys() -> None:
    """Numbers hash to themselves, and many large ones could want one place of a dictionary."""
    keys = [b"\x8a\x08" + (i << 40).to_bytes(8, "little") for i in range(1, 100)]
    reals = [b"G" + struct.pack(">d", 2.0**i) for i in range(21, 121)]
    program = b"\x80\x02}(" + b"N".join([*keys, *reals]) + b"NK\x07Nu."
    found = read_pickle(io.BytesIO(program), lambda *_: pytest.fail("a storage was read"), 100)
    assert len(found) == 200
    assert {type(key) for key in found} == {bytes}


def test_a_tensor_with_attributes_is_named(tmp_path: Path) -> None:
    noted = torch.ones(3)
    noted.note = "a"  # type: ignore[attr-defined]
    path = tmp_path / "a.ckpt"
    torch.save({"a": noted}, path)
    message = refused(path)
    assert "attributes or of a class of its own (torch._tensor._rebuild_from" in message
    assert "not read here: convert its state dict" in message
    assert "can run code" not in message


def tensor(
    size: int = 3, offset: int = 0, shape: int = 3, stride: int = 1, kind: bytes = b"storage"
) -> bytes:
    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    storage = b"(U" + bytes([len(kind)]) + kind + b"ctorch\nFloatStorage\nX\x01\x00\x00\x000Nn"
    return (
        b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n("
        + storage.replace(b"Nn", b"N" + number(size) + b"tQ")
        + number(offset) + number(shape) + b"\x85" + number(stride) + b"\x85\x89NtRs"
    )  # fmt: skip


@pytest.mark.parametrize(
    "program",
    [
        tensor(shape=289),
        tensor(size=288, offset=286),
        tensor(size=288, stride=200),
        tensor(shape=-1),
        tensor(stride=-1),
        tensor(offset=-1),
        tensor(size=-3),
        tensor(size=2**31 - 1),
        tensor(kind=b"module"),
    ],
)
def test_tensors_that_no_storage_stands_behind(
    program: bytes, whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert "download the file again" in refused(with_program(program, whole, tmp_path))


@pytest.mark.parametrize("times", [2, 3])
def test_two_names_for_a_tensor_pass_and_three_are_a_bomb(times: int, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    buffer = torch.zeros(100_000)
    torch.save({f"a{i}": buffer[:] for i in range(times)}, path)
    message = read_or_refuse(path)
    assert message is None if times == 2 else "more bytes than the file" in str(message)


# -- archives --------------------------------------------------------------------------------------


def changed(record: str, value: bytes, whole: dict[str, bytes], folder: Path) -> Path:
    return rewritten(
        whole["zip"], folder / "a.ckpt", lambda n, d: value if n.endswith(record) else d
    )


@pytest.mark.parametrize("order", [b"big", b"", b"\xff\xfe", b"LITTLE"])
def test_other_byte_orders_are_refused(
    order: bytes, whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert "byte order" in refused(changed("byteorder", order, whole, tmp_path))


@pytest.mark.parametrize("version", [b"11", b"", b"-1", b"x", b"9" * 10_000])
def test_other_versions_are_refused(
    version: bytes, whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert "version" in refused(changed("version", version, whole, tmp_path))


@pytest.mark.parametrize("little_endian", [False, None, 0])
def test_older_files_of_big_endian_machines_are_refused(
    little_endian: object, tmp_path: Path
) -> None:
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {}}
    pieces = (0x1950A86A20F9469CFC6C, 1001, machine, {"a": 1}, [])
    path = tmp_path / "a.pt"
    path.write_bytes(b"".join(pickle.dumps(piece, 2) for piece in pieces))
    assert "big-endian" in refused(path)


@pytest.mark.parametrize("again", ["a/DATA.PKL", "b/data.pkl", "A/Data/0", "A/VERSION"])
def test_names_that_two_programs_could_confuse(
    again: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    path = rewritten(whole["zip"], tmp_path / "a.ckpt", lambda _, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(again, b"\x80\x02}.")
    assert "choose" in refused(path) or "doubled" in refused(path)


@pytest.mark.parametrize("form", ["before", "after", "comment", "between"])
def test_bytes_that_no_directory_lists(form: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Room for a second archive, which another program would take."""
    path = rewritten(whole["zip"], tmp_path / "a.ckpt", lambda _, data: data)
    data = path.read_bytes()
    directory = data.find(b"PK\x01\x02")
    path.write_bytes(
        {
            "before": data + data,
            "after": data + b"PK\x05\x06" + bytes(18),
            "comment": data[:-2] + len(data).to_bytes(2, "little") + data,
            "between": data[:directory] + bytes(100) + data[directory:],
        }[form]
    )
    assert "download" in refused(path)
