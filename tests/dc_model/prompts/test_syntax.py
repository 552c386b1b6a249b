"""Prompt schedules as people paste them, and lines that must not pass for words."""

import pytest

from dc_model.prompts.schedule import Segment, parse_schedule
from dc_model.prompts.syntax import read_entries

BOTH = [Segment(0, "a boat"), Segment(12, "the boat sails")]


@pytest.mark.parametrize(
    "text",
    [
        '"0" :"a boat", "12" :"the boat sails"',
        '"0" :"a boat",\n"12" :"the boat sails"',
        '"0": "a boat"\n"12": "the boat sails"\n',
        '"0": "a boat" "12": "the boat sails"',
        '{"0": "a boat", "12": "the boat sails"}',
        '{\n  "0": "a boat",\n  "12": "the boat sails",\n}\n',
        '{"0": "a boat", "12": "the boat sails"}, // made elsewhere',
        "{'0': 'a boat', '12': 'the boat sails',}",
        "{\n'0' : 'a boat' ,\n'12' : 'the boat sails' ,\n}",
        "{0: a boat\n12: the boat sails}",
        "{0: 'a boat', 12: 'the boat sails'}",
        "'0': 'a boat', '12': 'the boat sails'",
        "\u201c0\u201d: \u201ca boat\u201d, \u201c12\u201d: \u201cthe boat sails\u201d",
        "\u20180\u2019: \u2018a boat\u2019, \u201812\u2019: \u2018the boat sails\u2019",
        '0: "a boat", 12: "the boat sails"',
        '0: "a boat"; 12: "the boat sails";',
        "0 = a boat\n12 = the boat sails",
        "0=a boat\r\n12=the boat sails\r\n",
        "0 : a boat,\n12: the boat sails,",
        "+0: a boat\n-4: the boat sails",
        '"0": a boat,\n"-4": the boat sails',
        "0\uff1aa boat\n12\uff1dthe boat sails",
        "\ufeff0: a boat\n12: the boat sails",
        "# the start\n0: a boat\n// the rest\n12: the boat sails\n#13: not yet",
        "0: a boat # at the shore\n12: the boat sails // off",
        '"0": "a boat", # at the shore\n"12": "the boat sails" // off',
        "0: a boat\n/* 4: a gull\n8: two */ 12: the boat sails",
    ],
)
def test_the_forms_that_are_read(text: str) -> None:
    assert parse_schedule(text, 16) == BOTH


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (r'"0": "a \"red\" boat"', 'a "red" boat'),
        (r'"0": "a \(red\) boat"', r"a \(red\) boat"),
        (r'"0": "caf\u00e9"', "caf\u00e9"),
        (r"'0': 'the boat\'s sail'", "the boat's sail"),
        ('"0": "rain # wind // hail"', "rain # wind // hail"),
        ('"0": ""', ""),
        ('0: "Stop" says a man', '"Stop" says a man'),
        ('0: "Stop", says a man', '"Stop", says a man'),
        ("0: 'tis the season", "'tis the season"),
        ("0: a room, 16:9, 4k", "a room, 16:9, 4k"),
        ("0: http://x.org is on the screen", "http://x.org is on the screen"),
        ("0: it sails away: far", "it sails away: far"),
        ("0: the #1 boat", "the #1 boat"),
        ("0: C# on a screen", "C# on a screen"),
        ("0: a /*/ boat", "a /*/ boat"),
        ('"0": "a\tred \\"boat\\""', 'a\tred "boat"'),
        (r'"0": "a\tboat"', "a\tboat"),
        ('"0": "a\tcaf\\u00e9"', "a\tcaf\u00e9"),
        ("0: a boat /* unfinished", "a boat /* unfinished"),
    ],
)
def test_words_stay_as_they_are(text: str, prompt: str) -> None:
    assert parse_schedule(text, 16) == [Segment(0, prompt)]


@pytest.mark.parametrize(
    "line",
    [
        "2 cats sleep",
        "1girl, solo",
        "4k video of a beach",
        "1980s, neon lights",
        "1985, Paris in the rain",
        "16, a boat",
        "5-year-old child",
        "50,000 people",
        "2.5 metres of snow",
        "(2 cats), beach",
        "(a boat:1.2)",
        '"Stop" says a man',
        "only: words",
        "the 3rd: of May",
        "frames of a film",
    ],
)
def test_lines_that_begin_like_words_are_words(line: str) -> None:
    assert [entry.frame for entry in read_entries(line, 16)] == [None]
    assert parse_schedule(f"{line}\nrest", 16) == [Segment(0, line), Segment(8, "rest")]


@pytest.mark.parametrize(
    "line",
    [
        "0 a boat",
        "0. a boat",
        "0) a boat",
        "(0) a boat",
        "[0] a boat",
        "<0> a boat",
        "@0 = a boat",
        "0 - a boat",
        "0, a boat",
        "0; a boat",
        "0 | a boat",
        "0 -> a boat",
        "0 => a boat",
        "0 := a boat",
        "0 == a boat",
        "0:: a boat",
        "0-8: a boat",
        "0 to 8: a boat",
        "0.5: a boat",
        "0s: a boat",
        "8f: a boat",
        "8 sec: a boat",
        "8 frames: a boat",
        "8 to 12: a boat",
        "8 -> a boat",
        "8 \u2192 a boat",
        "8 - a boat",
        "50%: a boat",
        "0:30 a boat",
        "16:9 film",
        "- 0: a boat",
        "* 0: a boat",
        "frame 0: a boat",
        "Frame 12 a boat",
        "frame_0: a boat",
        "keyframe #0: a boat",
        "f0: a boat",
        "12",
        "1234567890: a boat",
        '"0" "a boat"',
        '"0", "a boat"',
        '[["0", "a boat"]]',
        '[{"0": "a boat"}]',
        '"max_f-1": "a boat"',
        '"0.5": "a boat"',
        '"0": "a boat',
        '"0": "a boat" at the shore',
        '"0": "a boat", "12": the boat "sails',
        '"0": {"prompt": "a boat"}',
        '"0": ["a boat"]',
        "0: a boat, 12: the boat sails",
        "0:a boat; 12:the boat sails",
        "0 = a boat | 12 = the boat sails",
    ],
)
def test_a_line_that_looks_numbered_is_refused_and_named(line: str) -> None:
    with pytest.raises(ValueError, match="prompt schedule") as caught:
        parse_schedule(f"{line}\nthe boat sails", 16)
    assert line in str(caught.value)
    assert "has no frame" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "0: " + "x" * 10**5,
        "12" + " " * 10**5 + "x",
        '"0": "a"' + " " * 10**5 + "x",
        "/*" * 10**5,
        '{"0": "a' + "}//" * 10**5 + "\nx",
        '"0": "a", ' * 10**4,
        "-" * 10**5,
        "(" * 10**5 + "0:",
        "," * 10**5,
        "\n" * 10**5,
        "0: " + ", 1 " * 10**5,
        '"' * 10**5,
        "\u2018" * 10**5,
    ],
)
def test_long_texts_are_read_at_once(text: str) -> None:
    """Linear time; the line that a message names is cut short."""
    try:
        parse_schedule(text, 16)
    except ValueError as error:
        assert len(str(error)) < 400


def test_a_frame_has_up_to_nine_digits() -> None:
    assert read_entries("123456789: a boat", 16)[0].frame == 123456789


def test_half_a_character_is_replaced() -> None:
    for text in ("0: \ud800 boat", r'"0": "\ud800 boat"'):
        assert parse_schedule(text, 16) == [Segment(0, "? boat")]
