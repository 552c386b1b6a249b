"""Command line options that cannot be: refused by a sentence, before anything runs."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="the training extra is not installed")
pytest.importorskip("av")

import evaluation.__main__ as comparison
from evaluation import checkpoint, compare, conformity
from evaluation.command import run

COMMANDS = {
    checkpoint: "model.ckpt --protocol ucf101 --table clips.csv --extractor x.pt",
    compare: "real made --extractor x.pt",
    conformity: "videos images",
    comparison: "a.yaml --output out",
}
EVERY = [(command, "--device meta", "The device 'meta' cannot be used") for command in COMMANDS]
CUT = [
    (command, words, sentence)
    for command in (compare, conformity)
    for words, sentence in (
        (
            "--frames 0",
            "argument --frames: it is '0'; give a value that is greater than or equal to 1",
        ),
        ("--size 0 0", "argument --size: it is '0'"),
        ("--size -5 10", "argument --size: it is '-5'"),
    )
]
STRIDES = [
    (command, f"--stride {stride}", f"argument --stride: it is '{stride}'")
    for command in (checkpoint, compare)
    for stride in (0, -1)
]
OTHERS = [
    (
        checkpoint,
        "--clips 0",
        "argument --clips: it is '0'; give a value that is greater than or equal to",
    ),
    (
        checkpoint,
        "--size 70 70",
        "argument --size: it is '70'; give a value that is a multiple of 8",
    ),
    (checkpoint, "--seed -1", "argument --seed: it is '-1'"),
    (checkpoint, "--steps 0", "argument --steps: it is '0'"),
    (checkpoint, "--cfg nan", "argument --cfg: it is 'nan'; give a value that is a finite number"),
    (checkpoint, "--eta inf", "argument --eta: it is 'inf'; give a value that is a finite number"),
]


@pytest.mark.parametrize(
    ("command", "words", "sentence"),
    [*EVERY, *CUT, *STRIDES, *OTHERS],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_cannot_be_is_refused(
    command, words: str, sentence: str, monkeypatch, capsys, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["command", *COMMANDS[command].split(), *words.split()])
    with pytest.raises(SystemExit) as stopped:
        run(command.main)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
