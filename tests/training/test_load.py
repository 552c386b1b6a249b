"""What a run is trained as, and what its model and tokenizer can take."""

import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_checkpoint import write
from training_helpers import small_trainer, tiny_config, tiny_model

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.inspect import read_checkpoint
from dc_model.checkpoint.layout import UNET_PREFIX, encode_variant
from dc_model.variants import VARIANTS, Evidence
from training.config import ConfigError, ModelConfig
from training.load import (
    aims,
    require_fitting_size,
    require_known_words,
    split_content,
    tokenizer_of,
    training_variant,
)
from training.saving import unusual_heads
from training.train import export
from training.trainer import Trainer
from training.vocabulary import END, tokenize


def trained_as(checkpoint: Path, variant: str, **options) -> str:
    config = ModelConfig(checkpoint=str(checkpoint), variant=variant, **options)
    return training_variant(config, *said_of(checkpoint))


@cache
def said_of(checkpoint: Path) -> tuple[Evidence, Mapping[str, Any]]:
    loaded = split_content(read_checkpoint(checkpoint))
    return loaded.parts.evidence(), loaded.stated


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


def trainer_of(checkpoint: Path, output: Path) -> Trainer:
    return small_trainer(
        tiny_config(
            output,
            model={"checkpoint": str(checkpoint)},
            data={"kind": "small_world", "pool": 2, "size": [64, 64], "num_frames": 2},
        )
    )


def test_the_tensor_of_comfyuis_savers_is_believed(files: dict[str, Path], tmp_path: Path):
    path = tmp_path / "saved.safetensors"
    marker = {"dynamicrafter_variant": encode_variant("512_interp")}
    save_file(load_file(files["512"]) | marker, path)
    assert trainer_of(path, tmp_path).config.model.variant == "512_interp"
    save_file(load_file(files["512"]) | marker, path, {"dynamicrafter": '{"variant": "cil_512"}'})
    assert trainer_of(path, tmp_path).config.model.variant == "cil_512"


def test_heads_are_as_wide_as_the_file_states(files: dict[str, Path], tmp_path: Path):
    heads = {"projector": 32, "text_encoder": 32, "image_encoder": 40}
    path, written = tmp_path / "heads.safetensors", tmp_path / "out" / "model.safetensors"
    stated = {"dynamicrafter": json.dumps({"variant": "512", "head_dim": heads})}
    save_file(load_file(files["512"]), path, stated)
    for checkpoint in (path, written):
        trainer = trainer_of(checkpoint, written.parent)
        assert trainer.raw.projector is not None
        assert trainer.raw.projector.arch.head_dim == 32
        towers = trainer.maker.encoders.towers.arch
        assert (towers.text_head, towers.vision_head) == (32, 40)
        export(trainer, written)


def test_published_heads_are_not_stated(files: dict[str, Path], tmp_path: Path):
    trainer = trainer_of(files["512"], tmp_path)
    assert unusual_heads(trainer.raw, trainer.maker.encoders).keys() == {"unet"}


def test_what_is_wrong_with_a_file_is_said_with_its_name(files: dict[str, Path], tmp_path: Path):
    path = tmp_path / "fork.safetensors"
    save_file(load_file(files["512"]) | {UNET_PREFIX + "x.y": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"fork\.safetensors: The U-Net has 1 tensors"):
        trainer_of(path, tmp_path)
    heads = {"dynamicrafter": '{"variant": "512", "head_dim": {"projector": 7}}'}
    save_file(load_file(files["512"]), path, heads)
    with pytest.raises(CheckpointError, match=r"fork\.safetensors: .* not made of heads of 7"):
        trainer_of(path, tmp_path)


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
