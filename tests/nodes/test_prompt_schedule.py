"""Prompt Schedule: the text of each frame."""

import pytest
import torch
from fakes import FakeCLIP
from pack.nodes.host import keys
from pack.nodes.prompt_schedule import encode_schedule

LENGTH = 6
# The fake's embeddings are the lengths of the texts.
SEA, STORM = 3.0, 5.0


@pytest.mark.parametrize(
    ("prompts", "blend", "shares"),
    [
        ("0: sea\n4: storm", 0, (0, 0, 0, 0, 1, 1)),
        # The even split is at frame 3; the two frames around it hold a quarter and three quarters.
        ("sea\nstorm", 2, (0, 0, 0.25, 0.75, 1, 1)),
        ("sea", 4, (0, 0, 0, 0, 0, 0)),
    ],
)
def test_each_frame_has_its_segments_embedding(
    prompts: str, blend: int, shares: tuple[float, ...]
) -> None:
    ((text, values),) = encode_schedule(FakeCLIP(), prompts, LENGTH, blend)
    expected = SEA + torch.tensor(shares) * (STORM - SEA)
    torch.testing.assert_close(text, expected[:, None, None].expand(LENGTH, 77, 8))
    assert values[keys.TEXT_PER_FRAME] is True
    assert torch.equal(values["pooled_output"], torch.full((1, 8), SEA))


def test_the_hooks_of_the_clip_stay_with_the_text() -> None:
    ranges = [
        {"hooks": "weights", "start_percent": 0.0},
        {"hooks": "weights", "start_percent": 0.5},
    ]
    made = encode_schedule(FakeCLIP(*ranges), "0: sea\n4: storm", LENGTH, 0)
    assert [values["start_percent"] for _, values in made] == [0.0, 0.5]
    for text, values in made:
        assert (values["hooks"], values[keys.TEXT_PER_FRAME]) == ("weights", True)
        assert text[:, 0, 0].tolist() == [SEA] * 4 + [STORM] * 2
