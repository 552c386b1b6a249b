"""CLIP similarity: by hand from a tiny random CLIP's embeddings, and what cannot serve."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.command import EvaluationError
from evaluation.measures import open_measures
from evaluation.prompt_similarity import clip_name, open_similarity
from evaluation.protocol import DataSet, Measured, Protocol

pytest.importorskip("transformers")

DATA = DataSet(kind="table", path="clips.csv")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of its real classes, two layers, random weights."""
    from transformers.models.clip import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip") / "tiny"
    folder.mkdir()
    words = ["a</w>", "b", "o", "t</w>", "a", "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: i for i, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    layers: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
    layers |= {"intermediate_size": 16, "projection_dim": 16}
    ends = {"bos_token_id": 5, "eos_token_id": 6}
    text: dict[str, Any] = {"vocab_size": 7, "max_position_embeddings": 8, **layers, **ends}
    vision: dict[str, Any] = {"image_size": 32, "patch_size": 16, **layers}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer(str(vocabulary), str(merges), model_max_length=8).save_pretrained(folder)
    CLIPImageProcessor(size=32, crop_size=32).save_pretrained(folder)
    return folder


def test_it_is_the_mean_cosine_of_frames_and_prompt(clip_folder: Path) -> None:
    """Frames of the model's own size, normalised with CLIP's published mean and deviation."""
    from transformers.models.clip import CLIPModel

    levels = torch.randint(256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    model: Any = CLIPModel.from_pretrained(clip_folder)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    start, a, b, o, last_a, t, end = 5, 0, 1, 2, 4, 3, 6
    with torch.no_grad():
        words = model.text_model(torch.tensor([[start, a, b, o, last_a, t, end]])).pooler_output
        seen = model.vision_model((levels / 255 - mean) / deviation).pooler_output
        text, frames = model.text_projection(words)[0], model.visual_projection(seen)
    cosines = [torch.dot(f, text) / f.norm() / text.norm() for f in frames]
    found = open_similarity(str(clip_folder), "cpu")(levels / 255, "a boat")
    assert found == pytest.approx(float(sum(cosines) / 3), abs=1e-6)


def test_other_words_and_long_prompts(clip_folder: Path) -> None:
    similarity = open_similarity(str(clip_folder), "cpu")
    clip = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(2))
    one, two = similarity(clip, "a boat"), similarity(clip, "a a a")
    assert -1 <= one <= 1
    assert abs(one - two) > 1e-4
    assert -1 <= similarity(clip, "a boat " * 50) <= 1


def test_it_is_a_measure_where_weights_are_given(clip_folder: Path) -> None:
    found, missing = open_measures(Protocol(data=DATA, pic="pixels", clip=str(clip_folder)), "cpu")
    assert found["clip"].title == "CLIP similarity"
    assert found["clip"].by.startswith("tiny (")
    assert "CLIP similarity" not in missing
    found, missing = open_measures(Protocol(data=DATA, pic="pixels"), "cpu")
    assert "clip" not in found
    assert "protocol.clip is empty; give the folder" in missing["CLIP similarity"]


def test_the_models_weights_are_part_of_the_protocol(clip_folder: Path) -> None:
    def measured(folder: str) -> Measured:
        protocol = Protocol(data=DATA, clip=folder)
        return Measured(protocol=protocol, data="d", extractor="", clip=clip_name(folder))

    assert measured(str(clip_folder)).hash() != measured("").hash()
    assert "clip" not in measured("").settings()


def test_a_folder_that_is_no_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"protocol\.clip is '.*gone'.*no weights"):
        clip_name(str(tmp_path / "gone"))
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(EvaluationError, match="not a CLIP model that transformers can load"):
        open_similarity(str(tmp_path), "cpu")
