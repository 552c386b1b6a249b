import math

import pytest

from training.yaml12 import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("On", "On"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("-.5e+3", -500.0),
        ("3.", 3.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2026-11-26", "2026-11-26"),
        ("'no'", "no"),
        ("[no, 1e-5, {a: off}]", ["no", 1e-5, {"a": "off"}]),
    ],
)
def test_plain_scalars_follow_the_core_schema(text: str, value: object):
    found = read_yaml(text)
    assert found == value and type(found) is type(value)


def test_not_a_number_is_one():
    assert math.isnan(read_yaml(".nan"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,\nb: 2", "line 2"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: 'a' stands here twice"),
        ("? [1, 2]\n: 3", "line 1"),
        ("a: !!python/object:os.system 1", "could not determine a constructor"),
        ("a: \x00", "not allowed|unacceptable"),
    ],
)
def test_faults_name_their_line(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_yaml(text)
