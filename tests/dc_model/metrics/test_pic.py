import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from patterns import checkerboard
from PIL import Image
from torch import Tensor

from dc_model.metrics.pic import (
    MissingDreamSim,
    dreamsim_distance,
    embedding_distance,
    perceptual_input_conformity,
    pixel_distance,
)


def flat(*levels: float) -> Tensor:
    return torch.stack([torch.full((3, 4, 4), level) for level in levels])


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_value_is_the_mean_over_frames(batch_size: int):
    video = flat(0.0, 0.1, 0.5)
    found = perceptual_input_conformity(flat(0.0)[0], video, pixel_distance, batch_size)
    assert found == pytest.approx(1 - 0.2)


def test_a_still_conforms_fully():
    image = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    still = image.expand(5, -1, -1, -1)
    assert perceptual_input_conformity(image, still, pixel_distance) == 1.0


def test_wrong_shapes_are_named():
    for image, video in (
        (torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4)),
        (torch.zeros(3, 4, 4), torch.zeros(2, 3, 4, 8)),
        (torch.zeros(3, 4, 4), torch.zeros(0, 3, 4, 4)),
    ):
        with pytest.raises(ValueError, match=r"expected \[3, H, W\]"):
            perceptual_input_conformity(image, video, pixel_distance)


def test_embedding_distance_is_one_minus_the_cosine():
    embeddings = {0.0: [1.0, 0.0], 0.5: [2.0, 2.0], 1.0: [0.0, 3.0]}
    embed = lambda images: torch.tensor([embeddings[float(i[0, 0, 0])] for i in images])  # noqa: E731
    found = embedding_distance(embed)(flat(0.0, 0.0, 0.0), flat(0.0, 0.5, 1.0))
    torch.testing.assert_close(found, torch.tensor([0.0, 1 - 0.5**0.5, 1.0]))


def stand_in(calls: list[dict[str, Any]]) -> ModuleType:
    """A `dreamsim` package whose distance is 3 times the difference of means."""

    def dreamsim(**options: Any) -> tuple[Any, None]:
        calls.append(options)

        def model(first: Tensor, second: Tensor) -> Tensor:
            assert first.shape[1:] == second.shape[1:] == (3, 224, 224)
            assert float(first.max()) <= 1 and float(first.min()) >= 0
            return 3 * (first.mean(dim=(1, 2, 3)) - second.mean(dim=(1, 2, 3))).abs()

        return model, None

    module = ModuleType("dreamsim")
    module.dreamsim = dreamsim  # type: ignore[attr-defined]
    return module


def test_pic_with_dreamsim_by_value(monkeypatch: pytest.MonkeyPatch):
    calls: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "dreamsim", stand_in(calls))
    distance = dreamsim_distance("cpu", "weights")
    assert calls == [{"pretrained": True, "device": "cpu", "cache_dir": "weights"}]
    video = flat(0.2, 0.3, 0.4)
    found = perceptual_input_conformity(flat(0.2)[0], video, distance, batch_size=2)
    assert found == pytest.approx(1 - 3 * 0.1, abs=1e-5)


def test_without_dreamsim_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    with pytest.raises(MissingDreamSim, match=r"not computed.*`python -m pip install dreamsim`"):
        dreamsim_distance()


def test_dreamsim_sees_pictures_shrunk_as_pillow_shrinks_them(monkeypatch: pytest.MonkeyPatch):
    """A checkerboard of 3 pixels becomes grey; without antialias it becomes another board."""
    seen: list[Tensor] = []
    module = ModuleType("dreamsim")

    def model(*pair: Tensor) -> Tensor:
        seen.extend(pair)
        return torch.zeros(1)

    module.dreamsim = lambda **_: (model, None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dreamsim", module)
    board = checkerboard(720, 1000).permute(2, 0, 1).float() / 255
    dreamsim_distance()(board[None], board[None])
    shrunk = [Image.fromarray(channel.numpy()).resize((224, 224), 3) for channel in board]
    expected = torch.from_numpy(np.stack([np.asarray(image) for image in shrunk])).clamp(0, 1)[None]
    torch.testing.assert_close(seen[0], expected, atol=1e-3, rtol=0)


def test_without_its_weights_the_message_names_the_file_and_the_folder(
    monkeypatch: pytest.MonkeyPatch,
):
    def dreamsim(**_: Any) -> None:
        raise OSError("no route to host")

    module = ModuleType("dreamsim")
    module.dreamsim = dreamsim  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dreamsim", module)
    message = r"no route.*unpack dreamsim_ensemble_checkpoint\.zip .* into weights\."
    with pytest.raises(MissingDreamSim, match=message):
        dreamsim_distance("cpu", "weights")
