"""What a run is trained as, and what its model and tokenizer can take."""

import shutil
from functools import cache
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from small_checkpoint import write
from training_helpers import tiny_model

from dc_model.checkpoint.layout import split_checkpoint
from dc_model.variants import VARIANTS, Evidence
from training.config import ConfigError, ModelConfig
from training.load import (
    aims,
    require_fitting_size,
    require_known_words,
    tokenizer_of,
    training_variant,
)
from training.vocabulary import END, tokenize


def trained_as(checkpoint: Path, variant: str, **options) -> str:
    config = ModelConfig(checkpoint=str(checkpoint), variant=variant, **options)
    return training_variant(config, evidence_of(checkpoint))


@cache
def evidence_of(checkpoint: Path) -> Evidence:
    return split_checkpoint(load_file(checkpoint)).evidence()


@pytest.fixture(scope="module")
def files(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files without metadata, named by nothing, whose tensors and buffers say what they are."""
    folder, lender = tmp_path_factory.mktemp("files"), golden / "pipeline" / "512_frames8.json"
    return {
        variant: write(lender, folder / f"{i}.safetensors", variant, stated=False)
        for i, variant in enumerate(("256", "512", "1024", "videocrafter2"))
    }


@pytest.mark.parametrize("variant", ["256", "512", "1024", "videocrafter2"])
def test_the_file_says_what_it_is_trained_as(files: dict[str, Path], variant: str):
    assert trained_as(files[variant], "auto") == variant
    for stated in VARIANTS:
        if aims(stated) == aims(variant):
            assert trained_as(files[variant], stated) == stated
        else:
            with pytest.raises(
                ConfigError, match=f"model.variant is {stated}, but .* is {variant}"
            ):
                trained_as(files[variant], stated)


def test_relatives_of_one_objective_may_become_one_another():
    assert aims("512") == aims("512_interp") == aims("cil_512")
    assert aims("1024") == aims("cil_1024")
    assert len({aims(v) for v in ("256", "512", "1024", "videocrafter2", "viewcrafter_25")}) == 5


def test_metadata_is_believed_first(files: dict[str, Path], tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_file(load_file(files["512"]), path, {"dynamicrafter": '{"variant": "512_interp"}'})
    assert trained_as(path, "auto") == "512_interp"
    assert trained_as(path, "cil_512") == "cil_512"


def test_a_name_alone_refuses_nothing(files: dict[str, Path], tmp_path: Path):
    tensors = {k: v for k, v in load_file(files["512"]).items() if "." in k}
    path = tmp_path / "mine_1024.safetensors"
    save_file(tensors, path)
    assert trained_as(path, "auto") == "1024"
    assert trained_as(path, "512") == "512"


def test_a_new_image_stream_is_what_the_configuration_says(files: dict[str, Path]):
    assert trained_as(files["videocrafter2"], "512", new_image_stream=True) == "512"
    with pytest.raises(ConfigError, match=r"set model\.variant, as to 512"):
        trained_as(files["videocrafter2"], "auto", new_image_stream=True)


def test_sizes_that_the_network_cannot_halve_are_named():
    model = tiny_model()  # two levels
    require_fitting_size((48, 64), model)
    with pytest.raises(ConfigError, match=r"takes multiples of 16, so choose \[64, 64\]"):
        require_fitting_size((56, 64), model)


def test_words_that_the_demo_model_lacks_are_named():
    require_known_words(tokenize, ["a red circle moves left", ""])
    with pytest.raises(ConfigError, match=r"'sailboat' is not one of them.*sd1_tokenizer"):
        require_known_words(tokenize, ["a red circle", "a sailboat"])


def test_the_demo_models_words_are_cut_as_clips_are():
    long = tokenize(["red " * 76, "red " * 75])
    assert long.shape == (2, 77)
    assert long[0].equal(long[1]) and long[0, -1] == END


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("merges.txt", None),
        ("merges.txt", b"#version\na b c d\n"),
        ("merges.txt", b"#version\ni n\n"),
        ("merges.txt", b""),
        ("vocab.json", b"{"),
        ("vocab.json", None),
        ("tokenizer_config.json", b"{"),
    ],
)
def test_a_damaged_tokenizer_is_named(
    name: str, content: bytes | None, tmp_path: Path, comfyui: Path
):
    folder = tmp_path / "tokenizer"
    shutil.copytree(comfyui / "comfy" / "sd1_tokenizer", folder)
    assert tokenizer_of(str(folder))(["a boat"])[0, 3] == END
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.tokenizer.*comfy/sd1_tokenizer"):
        tokenizer_of(str(folder))
