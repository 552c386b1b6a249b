"""Video Distance: which sets of clips can be compared."""

import pytest
import torch
from pack.nodes.checks import InputError
from pack.nodes.video_distance import require_comparable


def clips(count: int, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.zeros(count, 2, 3, height, width)


def test_enough_clips_of_one_size() -> None:
    require_comparable(clips(2), clips(3))


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (clips(1), clips(2), "real_images gives 1 clip of 2 frames"),
        (clips(2), clips(1), "generated_images gives 1 clip"),
        (clips(2), clips(2, 8, 16), "real_images are 8 x 8 pixels and generated_images 16 x 8"),
    ],
)
def test_others_are_refused(real: torch.Tensor, generated: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_comparable(real, generated)
