"""Photographs on their way into the model: the user's cancel is answered within a second."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import pytest
import torch
from pack.dc_model.preprocess import Fit, clip_squash, fit_image, square_image
from pack.nodes.host import pictures
from pack.nodes.host.pictures import fit_pictures, squash_pictures
from torch import Tensor

ANSWER_WITHIN = 1.0


class CancelledError(Exception):
    pass


@pytest.fixture
def on_question(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Sets what happens when the host is asked whether to stop."""
    return lambda answer: monkeypatch.setattr(
        pictures.comfy.model_management, "throw_exception_if_processing_interrupted", answer
    )


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """48 megapixels `[1, 3, H, W]`, in the memory layout of the host's images."""
    return torch.full((1, 6000, 8000, 3), 0.5).movedim(-1, 1)


WORK: dict[str, Callable[[Tensor], Tensor]] = {
    "Visual Detail Guidance": lambda photo: fit_pictures(photo, 320, 512, "crop"),
    "Context Encode": lambda photo: squash_pictures(photo, "stretch"),
    "Context Encode with bars": lambda photo: squash_pictures(photo, "pad"),
}


@pytest.mark.parametrize("node", list(WORK))
def test_a_photographs_work_asks_every_second_whether_to_stop(
    node: str, photo: Tensor, on_question: Callable[..., None]
) -> None:
    # Of this thread's own work, which other programs do not lengthen.
    moments = [time.thread_time()]
    on_question(lambda: moments.append(time.thread_time()))
    assert float(WORK[node](photo).max()) == pytest.approx(0.5, abs=1e-5)
    moments.append(time.thread_time())
    assert max(b - a for a, b in pairwise(moments)) < ANSWER_WITHIN


def test_a_photograph_is_read_in_bands_between_which_the_host_is_asked(
    photo: Tensor, on_question: Callable[..., None]
) -> None:
    asked = []

    def cancel_at_the_third() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise CancelledError

    on_question(cancel_at_the_third)
    with pytest.raises(CancelledError):
        squash_pictures(photo, "stretch")
    with pytest.raises(CancelledError):
        asked.clear()
        fit_pictures(torch.zeros(5, 3, 8, 8), 16, 16, "crop")


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_batch_is_its_pictures(fit: str) -> None:
    images = torch.rand(3, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    chosen = cast(Fit, fit)
    expected = fit_image(images, 16, 24, chosen)
    torch.testing.assert_close(fit_pictures(images, 16, 24, chosen), expected)
    squashed = clip_squash(square_image(images, chosen))
    torch.testing.assert_close(squash_pictures(images, chosen), squashed)
