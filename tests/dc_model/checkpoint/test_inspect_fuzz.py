"""Generated files: every one is read or ends in one sentence, and no other exception."""

import pickletools
from pathlib import Path
from typing import Any

import pytest
from checkpoint_files import SUFFIX, read_or_refuse, rewritten, safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.layout import refuse_foreign

FUZZ = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    # How long a draw takes is the machine's business.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
counts = st.integers(-2, 2**64)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "I64", "BOOL", "F4", ""]),
        "shape": st.lists(counts, max_size=5),
        "data_offsets": st.lists(counts, min_size=1, max_size=3),
    }
)


@FUZZ
@given(header=st.dictionaries(st.text(max_size=12), entries | json_values, max_size=4))
def test_fuzz_of_headers(header: dict[str, Any], tmp_path: Path) -> None:
    read_or_refuse(safetensors(tmp_path / "a.safetensors", header, 64))


@FUZZ
@given(data=st.binary(max_size=400), suffix=st.sampled_from([".safetensors", ".ckpt"]))
def test_fuzz_of_bytes(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    read_or_refuse(path)


@FUZZ
@given(
    form=st.sampled_from(list(SUFFIX)),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    cut=st.floats(0.2, 1),
)
def test_fuzz_of_whole_files(
    form: str,
    edits: list[tuple[float, int]],
    cut: float,
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    data = bytearray(whole[form])
    for place, value in edits:
        data[int(place * len(data))] = value
    path = tmp_path / f"a{SUFFIX[form]}"
    path.write_bytes(data[: int(len(data) * cut)])
    read_or_refuse(path)


OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]


@FUZZ
@given(program=st.lists(st.sampled_from(OPCODES) | st.binary(max_size=6), max_size=30))
def test_fuzz_of_pickle_programs(
    program: list[bytes], whole: dict[str, bytes], tmp_path: Path
) -> None:
    hostile = b"\x80\x02" + b"".join(program) + b"."
    path = rewritten(
        whole["zip"],
        tmp_path / "a.ckpt",
        lambda name, data: hostile if name.endswith("data.pkl") else data,
    )
    read_or_refuse(path)


names = st.sampled_from(
    [
        "input_blocks.0.0.weight",
        "input_blocks.1.0.in_layers.2.weight",
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "input_blocks.999999999.0.op.weight",
        "input_blocks.1.1.transformer_blocks.999999999.attn2.to_k.weight",
        "out.2.weight",
        "init_attn.0.proj_in.weight",
        "relative_position_k.embeddings_table",
    ]
)
sizes = st.lists(st.sampled_from([0, 1, 3, 4, 8, 64, 320, 2**40]), max_size=5).map(tuple)


@FUZZ
@given(header=st.dictionaries(names.map(lambda n: f"model.diffusion_model.{n}"), sizes))
def test_fuzz_of_architectures(header: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(CheckpointError):
        refuse_foreign(header)
