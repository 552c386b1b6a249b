"""Notations of other programs in prompts: each refused by name, ordinary words never."""

import re

import pytest

from dc_model.prompts.foreign import refuse_other_notations
from dc_model.prompts.schedule import parse_schedule


@pytest.mark.parametrize(
    ("prompt", "named", "remedy"),
    [
        ("a boat --neg blurry", "--neg", "CLIP Text Encode of the negative"),
        ("a boat, --NEG blurry", "--NEG", "CLIP Text Encode of the negative"),
        ("--neg blurry", "--neg", "CLIP Text Encode of the negative"),
        ("a boat --no people", "--no", "CLIP Text Encode of the negative"),
        ("Negative prompt: blurry", "Negative prompt:", "CLIP Text Encode of the negative"),
        ("neg: blurry", "neg:", "CLIP Text Encode of the negative"),
        ("a boat --ar 16:9", "--ar", "set the value in the node"),
        ("(a boat:`pw_a`)", "`pw_a`", "write its value"),
        ("(a boat:`(sin(t/max_f))`)", "`(sin(t/max_f))`", "write its value"),
        ("(a boat:`0.5+0.5*cos(t)`)", "`0.5+0.5*cos(t)`", "write its value"),
        ("(a boat:pw_b)", "pw_b", "write its value"),
        ("max_f-1: the boat sails", "max_f", "frames as whole numbers"),
        ("max_f/2 = the boat sails", "max_f", "frames as whole numbers"),
        ("a boat <lora:sea:0.8>", "<lora:sea:0.8>", "LoraLoaderModelOnly"),
        ("a boat <Hypernet:sea:1>", "<Hypernet:sea:1>", "LoraLoaderModelOnly"),
        ("a {red|blue} boat", "{red|blue}", "one of its words"),
        ("a {2$$red|blue|green} boat", "{2$$red|blue|green}", "one of its words"),
        ("a __color__ boat", "__color__", "write words"),
        ("a __sea/boats*__", "__sea/boats*__", "write words"),
        ("a [red:blue:0.5] boat", "[red:blue:0.5]", "for the frame"),
        ("a [red boat::12]", "[red boat::12]", "for the frame"),
    ],
)
def test_a_notation_of_another_program_is_refused_by_name(
    prompt: str, named: str, remedy: str
) -> None:
    pattern = rf"'{re.escape(named)}.*' in a prompt .*{remedy}"
    for schedule in (prompt, f"a cloud\n{prompt}"):
        with pytest.raises(ValueError, match=pattern):
            parse_schedule(schedule, 16)
    if "max_f" not in named and '"' not in prompt:
        with pytest.raises(ValueError, match=pattern):
            parse_schedule(f'"0": "a cloud", "12": "{prompt}"', 16)


@pytest.mark.parametrize(
    "prompt",
    [
        "a boat -- it sails",
        "a boat--it sails",
        "a boat - no people",
        "negative space: white",
        "it`s the sailor`s boat",
        "(a boat:1.2), [a cloud]",
        "a {red} boat",
        "red|blue",
        "a snake_case_word and __init",
        "embedding:sea",
        "a sign: [closed: 12]",
        "<a boat>",
        "<lorand>",
        "",
    ],
)
def test_ordinary_words_pass(prompt: str) -> None:
    refuse_other_notations(prompt)


@pytest.mark.parametrize("sign", ["`", "{", "{|", "[:", "[", "<lora:", "__a", "-", " --", "neg "])
def test_long_prompts_are_searched_at_once(sign: str) -> None:
    try:
        refuse_other_notations(sign * (10**5 // len(sign)))
    except ValueError as error:
        assert len(str(error)) < 300
