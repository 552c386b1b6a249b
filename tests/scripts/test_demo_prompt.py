import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import demo
import pytest
from demo_options import ASSETS
from demo_prompt import EMBEDDED_SETTINGS, embedded_words, fill_folder
from demo_prompt import EXAMPLES as PICTURES
from embedded_examples import EXAMPLES
from PIL import Image
from shipped.names import file_name

VOCABULARY = "training/vocabulary.json"


def test_the_examples_fit_the_embedded_model():
    for path in PICTURES:
        with Image.open(path) as picture:
            size = (EMBEDDED_SETTINGS["width"], EMBEDDED_SETTINGS["height"])
            assert (picture.size, picture.mode) == (size, "RGB")
        assert path.name in (demo.__doc__ or "")


def test_the_examples_speak_the_models_language(root: Path):
    known = json.loads((root / VOCABULARY).read_text(encoding="utf-8"))
    for short, example in EXAMPLES.items():
        assert all((ASSETS / name).is_file() for name in example.pictures), short
        for text in example.prompts:
            words = re.sub(r"(?m)^\d+: ", "", text).split()
            assert [word for word in words if word not in known] == [], short


def test_what_examples_set_is_in_their_workflows(root: Path):
    for short, example in EXAMPLES.items():
        path = root / "workflows" / file_name(short)
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        names = {name for node in nodes for name in (node["type"], node.get("title"))}
        assert set(example.inputs) <= names, short


def test_a_loop_is_sampled_with_little_guidance():
    assert 1.0 <= EXAMPLES["loop"].settings["cfg"] <= 1.5


def test_a_picture_without_words_gets_its_own(root: Path, monkeypatch: pytest.MonkeyPatch):
    assert embedded_words(None) == "a large red circle moves left on a plain background"
    square = "a blue square falls down on a gradient background"
    assert embedded_words(root / "assets" / "small_world_square.png") == square
    monkeypatch.chdir(root)
    assert embedded_words(Path("assets/small_world_square.png")) == square
    # Nobody knows what another picture shows.
    assert embedded_words(root / "assets" / "sailboat.png") == "moves left"


def test_a_folder_of_pictures_holds_what_the_last_run_brought(tmp_path: Path):
    server: Any = SimpleNamespace(base=tmp_path)
    fill_folder(server, [ASSETS / "small_world_cross.png"])
    fill_folder(server, [ASSETS / "small_world_circle.png"])
    found = [path.name for path in (tmp_path / "input" / "pictures").iterdir()]
    assert found == ["small_world_circle.png"]
