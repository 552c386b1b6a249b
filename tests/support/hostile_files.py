"""Checkpoint files out of a grammar, read one by one in a process of their own.

`python hostile_files.py FOLDER FIRST LAST` makes and reads the files of these seeds. A line before
and after each says how it ended, so whoever waits knows which one killed the process.
"""

import io
import json
import os
import pickle
import random
import re
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from memory import peak_memory, reset_peak_memory

from dc_model.checkpoint.errors import CheckpointError, naming
from dc_model.checkpoint.inspect import read_checkpoint
from dc_model.checkpoint.layout import refuse_foreign, split_checkpoint
from dc_model.metrics.torchscript import ScriptError, inspect_script
from dc_model.sampling.analytic_init import read_analytic_init

TEXTS = (
    *("a", "", "model.diffusion_model.out.2.bias", "alphas_cumprod", "state_dict", "module"),
    *(
        "Expectation_X0",
        "Tr_Cov_d",
        "\ud800",
        "caf\udce9",
        "a\nERROR: gone",
        "\x1b[2J\x00",
        "\u202e",
    ),
    "x" * 1_000_000,
)
NUMBERS = (0, 1, 4, -1, 255, 2**16, 2**31 - 1, 2**31, 2**62, 2**63, 2**64, 2**70, 1.5, -0.0, True)
GLOBALS = (
    *(
        "posix system",
        "os system",
        "nt system",
        "builtins eval",
        "builtins exec",
        "builtins getattr",
    ),
    *("builtins bytearray", "__builtin__ bytearray", "builtins set", "__builtin__ set"),
    *("builtins range", "builtins print", "subprocess Popen", "shutil rmtree", "socket socket"),
    *("_codecs encode", "_codecs decode", "codecs open", "collections OrderedDict"),
    *("collections Counter", "collections defaultdict", "functools partial", "operator attrgetter"),
    *(
        "torch load",
        "torch Size",
        "torch device",
        "torch Tensor",
        "torch FloatStorage",
        "torch float32",
    ),
    *("torch.serialization load", "torch.storage _load_from_bytes", "torch.hub load"),
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"),
    *("torch._utils _rebuild_parameter", "torch._utils _rebuild_sparse_tensor"),
    *("torch._utils _rebuild_qtensor", "torch._utils _rebuild_meta_tensor_no_storage"),
    *("torch._tensor _rebuild_from_type_v2", "torch.nn.parameter Parameter"),
    *("numpy dtype", "numpy.core.multiarray scalar", "numpy.core.multiarray _reconstruct"),
    *("pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint", "no.such name"),
)
Made = tuple[str, bytes]


class Grammar:
    """One seed's choices."""

    def __init__(self, seed: int):
        self.pick = random.Random(seed)

    def one(self, *rules: Callable[[], Any]) -> Any:
        return self.pick.choice(rules)()

    def file(self) -> Made:
        """A file's suffix and bytes."""
        suffix, data = self.one(self.safetensors, self.archive, self.archive, self.legacy)
        return suffix, self.damaged(data) if self.pick.random() < 0.25 else data

    def damaged(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.pick.randint(1, 4)):
            if changed:
                changed[self.pick.randrange(min(len(changed), 2000))] = self.pick.randrange(256)
        return bytes(
            changed[: self.pick.choice((len(changed), self.pick.randint(0, len(changed))))]
        )

    # -- safetensors -------------------------------------------------------------------------------

    def safetensors(self) -> Made:
        parts, at = [], 0
        for _ in range(self.pick.randint(0, 3)):
            size = self.pick.choice((0, 4, 40))
            parts.append(f"{self.key()}: {self.entry(at, size)}")
            at += size
        if self.pick.random() < 0.4:
            note = (
                self.pick.choice(TEXTS),
                self.pick.choice((*TEXTS, 1, None, {}, '{"variant": 7}')),
            )
            parts.append(json.dumps("__metadata__") + ": " + json.dumps({note[0]: note[1]}))
        text = "{" + ", ".join(parts) + "}"
        encoding = self.pick.choice(("utf-8",) * 8 + ("utf-16", "utf-32"))
        header = text.encode(encoding, "surrogatepass")
        header = self.pick.choice((header,) * 6 + (header + b" " * 64, header[:-1], b"[" * 10**5))
        length = len(header) + self.pick.choice((0,) * 8 + (1, -1, 128, 2**40, 2**63))
        data = bytes(max(0, at + self.pick.choice((0,) * 6 + (1, -1, 1000))))
        return ".safetensors", struct.pack("<Q", length % 2**64) + header + data

    def key(self) -> str:
        text = self.pick.choice(TEXTS)
        return json.dumps(text, ensure_ascii=self.pick.random() < 0.7)

    def entry(self, at: int, size: int) -> str:
        dtype = self.pick.choice(("F32",) * 8 + ("F16", "I64", "C64", "F4", "BOOL", "", 7))
        shape: Any = self.pick.choice(([size // 4],) * 6 + ([], [-1], [0, 2**62], [2**62] * 4))
        if self.pick.random() < 0.1:
            shape = [self.pick.choice(NUMBERS), 1]
        place: Any = self.pick.choice(([at, at + size],) * 8 + ([at], [-4, 0], [at, 2**64], None))
        text = json.dumps({"dtype": dtype, "shape": shape, "data_offsets": place})
        return self.pick.choice((text,) * 8 + (text.replace("0", "-0"), "1", "null", "NaN"))

    # -- pickles -----------------------------------------------------------------------------------

    def program(self) -> bytes:
        """A pickle that makes a dictionary, or something near it."""
        items = b"".join(self.text() + self.value(0) for _ in range(self.pick.randint(1, 4)))
        start = self.pick.choice((b"\x80\x02",) * 8 + (b"\x80\x04", b"\x80\x63", b""))
        end = self.pick.choice((b"u.",) * 8 + (b".", b"u", b"uu.", b"0."))
        return start + b"}(" + items + end

    def text(self) -> bytes:
        data = self.pick.choice(TEXTS).encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(data)) + data

    def value(self, depth: int) -> bytes:
        if depth > 4:
            return b"N"
        return self.one(
            self.text,
            self.number,
            self.tensor,
            self.tensor,
            lambda: b"(" + self.value(depth + 1) * self.pick.randint(0, 3) + b"t",
            lambda: b"](" + self.value(depth + 1) * self.pick.randint(0, 3) + b"e",
            lambda: b"}(" + self.value(depth + 1) + self.value(depth + 1) + b"u",
            lambda: self.name() + b"(" + self.value(depth + 1) + b"tR",
            lambda: self.name() + b")R" + self.value(depth + 1) + b"b",
            lambda: b"}" + self.value(depth + 1) + b"b",
            lambda: self.name() + b")\x81",
            self.bomb,
        )

    def number(self) -> bytes:
        return self.one(
            lambda: b"J" + struct.pack("<i", self.pick.choice((0, 1, -1, 2**31 - 1))),
            lambda: b"\x8a\x09" + struct.pack("<q", self.pick.choice((2**62, -(2**62)))) + b"\x7f",
            lambda: b"G" + struct.pack(">d", self.pick.choice((float("nan"), 1e300, 0.5))),
            lambda: b"I" + b"9" * 10_000 + b"\n",
        )

    def name(self) -> bytes:
        module, name = self.pick.choice(GLOBALS).split(" ")
        return f"c{module}\n{name}\n".encode()

    def tensor(self) -> bytes:
        count = self.pick.choice((3,) * 6 + (0, 2**31 - 1, 2**20))
        storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        storage += b"X\x03\x00\x00\x00cpuJ" + struct.pack("<i", count) + b"tQ"
        shape = struct.pack("<i", self.pick.choice((3,) * 6 + (-1, 2**31 - 1, 0)))
        stride = struct.pack("<i", self.pick.choice((1,) * 6 + (0, -1, 2**31 - 1)))
        offset = struct.pack("<i", self.pick.choice((0,) * 6 + (1, -1, 2**31 - 1)))
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + offset + b"J" + shape
            + b"\x85J" + stride + b"\x85\x89ccollections\nOrderedDict\n)RtR"
        )  # fmt: skip

    def bomb(self) -> bytes:
        deep = b")" + b"\x85" * 200_000
        same_hash = b"".join(
            b"\x8a\x09" + struct.pack("<q", i << 40) + b"\x00" for i in range(20_000)
        )
        return self.one(
            lambda: b"}" + deep + b"Ns",  # a key that is hashed level by level
            lambda: b"\x8f(" + deep + b"\x90",
            lambda: deep,
            lambda: b"]" * 300_000,
            lambda: b"(" * 300_000,
            lambda: b"}(" + b"".join(n + b"N" for n in same_hash.split(b"\x8a\x09")[1:]) + b"u",
            lambda: b"]q\x05" + b"h\x05h\x05\x86q\x05" * 2000,  # doubles with each step
            lambda: b"]q\x06h\x06ah\x06",  # holds itself
            lambda: b"c_codecs\nencode\n" + self.text() + b"X\x04\x00\x00\x00hex!\x86R",
            lambda: b"cbuiltins\nset\n](" + b"K\x01" * 1000 + b"e\x85R" * 100,
            lambda: b"\x8e" + struct.pack("<Q", 2**62),
            lambda: b"T" + struct.pack("<I", 2**31 - 1),
            lambda: b"r" + struct.pack("<I", 2**32 - 1),
        )

    # -- files around pickles ----------------------------------------------------------------------

    def archive(self) -> Made:
        records = {
            "a/data.pkl": self.program(),
            "a/byteorder": self.pick.choice((b"little",) * 8 + (b"big", b"\xff", b"")),
            "a/data/0": bytes(12),
            "a/version": self.pick.choice((b"3\n",) * 8 + (b"99", b"", b"9" * 10_000)),
        }
        if self.pick.random() < 0.2:
            del records[self.pick.choice(list(records))]
        buffer = io.BytesIO(self.pick.choice((b"",) * 8 + (b"MZ", b"PK\x03\x04")))
        buffer.seek(0, os.SEEK_END)
        packed = self.pick.choice((zipfile.ZIP_STORED,) * 8 + (zipfile.ZIP_DEFLATED,))
        with zipfile.ZipFile(buffer, "a", packed) as archive:
            for name, data in records.items():
                archive.writestr(name, data)
            if self.pick.random() < 0.3:
                again = ("a/DATA.PKL", "b/data.pkl", "a/data/0", "A/data/0", "a/code/x.py", "a\n/é")
                archive.writestr(self.pick.choice(again), self.program())
        data = buffer.getvalue()
        others = (data + data, data + bytes(30), data[:-22] + b"x" * 100 + data[-22:], data[:-30])
        return ".ckpt", self.pick.choice((data,) * 8 + others)

    def legacy(self) -> Made:
        machine = {"little_endian": self.pick.choice((True,) * 6 + (False, 1, "yes"))}
        magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        version = pickle.dumps(self.pick.choice((1001,) * 6 + (7, "x", None)), 2)
        keys = pickle.dumps(
            self.pick.choice((["0"],) * 6 + ([], ["0", "1"], "00", [0], {"0": 1})), 2
        )
        count = self.pick.choice((3,) * 6 + (0, -1, 2**40, 2**63 - 1))
        storage = struct.pack("<q", count) + bytes(12)
        pieces = [magic, version, pickle.dumps(machine, 2), self.program(), keys, storage]
        if self.pick.random() < 0.2:
            pieces[self.pick.randrange(1, 5)] = self.program()
        return ".pt", b"".join(pieces)


REMEDY = re.compile(r"\b(download|convert|choose|rename|unpack|check|load|merge|use|mend)\b")
HARMFUL = re.compile(
    r"os\.(system|exec|fork|posix_spawn|remove|rename|mkdir|rmdir|chmod|link|symlink)"
)


class Watch:
    """What Python's audit events say of processes, connections and writes while a file is read."""

    def __init__(self) -> None:
        self.on, self.seen = False, list[str]()
        sys.addaudithook(self.event)

    def event(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.on:
            writes = name == "open" and (
                set("wax+") & set(str(arguments[1])) or int(arguments[2] or 0) & 3
            )
            if writes or name.startswith(("subprocess", "socket", "shutil")):
                self.seen.append(f"{name} {str(arguments)[:80]}")
            elif HARMFUL.match(name):
                self.seen.append(name)


def load(path: Path) -> None:
    """By every reader that the pack has for such files."""
    tensors = read_checkpoint(path).tensors
    size = path.stat().st_size
    assert sum(t.nbytes for t in tensors.values()) <= 2 * size, "more bytes than the file"
    for tensor in tensors.values():
        tensor.clone().view(-1)  # touches every byte
    with naming(path):
        split_checkpoint(read_checkpoint(path, check=refuse_foreign).tensors)


def outcome(read: Callable[[Path], object], path: Path) -> str:
    """ "" for a file that was read or refused as it should be, else the message.

    Any other exception ends the process.
    """
    try:
        read(path)
    except (CheckpointError, ScriptError) as error:
        text = str(error)
        fine = text.isprintable() and text.endswith(".") and len(text) < 1000
        return "" if fine and REMEDY.search(text) else f"message {text[:400]!r}"
    return ""


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def main() -> None:
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    watch = Watch()
    for seed in range(first, last):
        suffix, data = Grammar(seed).file()
        path = folder / f"hostile{suffix}"
        path.write_bytes(data)
        del data
        say({"begin": seed})
        reset_peak_memory(os.getpid())
        before, start = peak_memory(os.getpid()), time.monotonic()
        watch.on = True
        wrong = [outcome(read, path) for read in (load, read_analytic_init, inspect_script)]
        watch.on = False
        end = {
            "end": seed,
            "wrong": [*filter(None, wrong), *watch.seen],
            "seconds": time.monotonic() - start,
            "megabytes": (peak_memory(os.getpid()) - before) / 2**20,
        }
        watch.seen.clear()
        say(end)


if __name__ == "__main__":
    main()
