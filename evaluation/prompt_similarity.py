"""CLIP similarity of a clip to its prompt: the mean over frames of the cosine of both embeddings.

Source: Radford et al. 2021 for the embeddings; Wu et al. 2021 (GODIVA) for the mean over frames.
Values of two CLIP models are not comparable, so the protocol names the model and its weights' hash.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dc_model.metrics.features import file_hash
from dc_model.preprocess import eight_bit
from dc_model.shown import shown

from .command import EvaluationError

# A clip `[T, 3, H, W]` in [0, 1] and its prompt.
Similarity = Callable[[Tensor, str], float]
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
FRAMES_AT_ONCE = 16


def clip_name(folder: str) -> str:
    """The model's folder with a hash of its weights, or an empty name. Raises EvaluationError."""
    if not folder:
        return ""
    files = sorted(file for pattern in WEIGHTS for file in Path(folder).glob(pattern))
    if not files:
        raise EvaluationError(
            f"protocol.clip is '{shown(folder)}', which holds no weights ({', '.join(WEIGHTS)}); "
            "give a CLIP model's folder as transformers saves it, or leave it empty to go without "
            "CLIP similarity."
        )
    digest = hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()[:12]
    return f"{Path(folder).name} ({digest})"


def open_similarity(folder: str, device: str) -> Similarity:
    """The model in `folder` with its own tokenizer and preparation. Raises EvaluationError."""
    try:
        from safetensors import SafetensorError
        from transformers.models.auto import AutoImageProcessor, AutoTokenizer
        from transformers.models.clip import CLIPModel
    except ImportError as error:
        raise EvaluationError(
            f"CLIP similarity needs transformers ({shown(error)}): python -m pip install "
            "transformers; or leave protocol.clip empty."
        ) from error
    try:
        model: Any = CLIPModel.from_pretrained(folder, local_files_only=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        prepare: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise EvaluationError(
            f"{shown(folder)} is not a CLIP model that transformers can load ({shown(error)}); "
            "give a folder with config, weights, tokenizer and preprocessor_config.json."
        ) from error
    model.to(device).eval()

    @torch.inference_mode()
    def similarity(clip: Tensor, prompt: str) -> float:
        words = tokenizer([prompt], truncation=True, return_tensors="pt").to(device)
        cosines = []
        for frames in clip.split(FRAMES_AT_ONCE):
            pixels = prepare(list(eight_bit(frames * 2 - 1)), return_tensors="pt")
            found = model(**words, pixel_values=pixels["pixel_values"].to(device))
            # Both embeddings come out with length 1.
            cosines.append((found.image_embeds @ found.text_embeds.T).double().cpu())
        return float(torch.cat(cosines).mean())

    return similarity
