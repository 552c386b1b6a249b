"""Prompt schedules: parsing, weights per frame, and the mixed embeddings."""

import pytest
import torch

from dc_model.prompts.schedule import (
    Segment,
    frame_texts,
    is_numbered,
    parse_schedule,
    segment_weights,
)


def test_numbered_lines_start_where_they_say() -> None:
    text = "0: a boat\n\n 6 : it sails away: far\n-4: gone"
    assert parse_schedule(text, 16) == [
        Segment(0, "a boat"),
        Segment(6, "it sails away: far"),
        Segment(12, "gone"),
    ]


def test_the_first_segment_starts_with_the_video() -> None:
    assert parse_schedule("3: a\n5: b", 8) == [Segment(0, "a"), Segment(5, "b")]


def test_lines_without_numbers_share_the_video_evenly() -> None:
    assert [s.start for s in parse_schedule("a\nb\nc", 16)] == [0, 5, 10]
    assert [s.start for s in parse_schedule("a\nb\nc", 3)] == [0, 1, 2]
    assert parse_schedule("only: words", 4) == [Segment(0, "only: words")]


@pytest.mark.parametrize(
    ("text", "frames", "message"),
    [
        (" \n", 16, "is empty"),
        ("a\nb\nc", 2, "3 lines for 2 frames"),
        ("0: a\nb", 16, "'b' of the prompt schedule has no frame"),
        ("0: a\n16: b", 16, "frame 16 is outside the video"),
        ("-17: a", 16, "choose -16 to 15"),
        ("0: a\n9: b\n8: c", 16, "ascending"),
        ("0: a\n0: b", 16, "ascending"),
    ],
)
def test_wrong_schedules_are_explained(text: str, frames: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text, frames)


def test_without_blending_one_segment_rules_each_frame() -> None:
    weights = segment_weights([0, 2, 5], 6, 0)
    assert weights.argmax(dim=1).tolist() == [0, 0, 1, 1, 1, 2]
    assert torch.equal(weights.max(dim=1).values, torch.ones(6))


def test_blending_is_linear_and_symmetric_around_the_start() -> None:
    weights = segment_weights([0, 4], 8, 4)
    expected = torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    torch.testing.assert_close(weights[:, 1], expected)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(8))


def test_close_segments_still_share_each_frame_fully() -> None:
    weights = segment_weights([0, 1, 2], 6, 8)
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))


def test_frame_texts_mix_by_weight() -> None:
    a, b = torch.zeros(1, 3, 2), torch.ones(1, 3, 2)
    mixed = frame_texts([a, b], torch.tensor([[1.0, 0.0], [0.25, 0.75]]))
    assert mixed.shape == (2, 3, 2)
    assert bool((mixed[0] == 0).all()) and bool((mixed[1] == 0.75).all())


def test_unlike_lengths_repeat_to_a_common_one() -> None:
    """Attention over repeated tokens is that over the tokens."""
    generator = torch.Generator().manual_seed(0)
    short, long = (torch.randn(1, length, 4, generator=generator) for length in (2, 6))
    mixed = frame_texts([short, long], torch.eye(2))
    torch.testing.assert_close(mixed[0], short[0].repeat(3, 1))
    torch.testing.assert_close(mixed[1], long[0])


@pytest.mark.parametrize(("chunks", "common"), [((1, 4), 4), ((3, 4), 12), ((4, 5), 20)])
def test_lengths_that_meet_soon_are_repeated(chunks: tuple[int, ...], common: int) -> None:
    texts = [torch.zeros(1, 77 * n, 2) for n in chunks]
    assert frame_texts(texts, torch.eye(len(chunks))).shape[1] == 77 * common


@pytest.mark.parametrize("chunks", [(3, 4, 5, 7), (5, 6), tuple(range(1, 40))])
def test_lengths_that_only_meet_far_out_are_refused(chunks: tuple[int, ...]) -> None:
    """210, 280, 350 and 490 words came to 2 GB of repeated text."""
    texts = [torch.zeros(1, 77 * n, 2) for n in chunks]
    with pytest.raises(ValueError, match="no common length") as caught:
        frame_texts(texts, torch.eye(len(chunks)))
    assert f"{77 * chunks[0]}, {77 * chunks[1]}" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "numbered"),
    [
        ("0: a\n4: b", True),
        ('{"0": "a", "4": "b"}', True),
        ("0: a", False),
        ("16:9 film\n0: a", False),
        ("a boat\n4: b", False),
        ("a boat\nit sails", False),
        ("", False),
    ],
)
def test_a_prompt_with_frames_on_two_lines_or_more_is_a_schedule(text: str, numbered: bool) -> None:
    assert is_numbered(text, 16) == numbered
