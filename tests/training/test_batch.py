"""What one training step sees, by value, from clips whose latents are their own frames."""

import numpy as np
import pytest
import torch
from training_helpers import FRAMES, FakeEncoders, FakeSource, tiny_config

from dc_model.sampling.schedule import schedule_of
from dc_model.variants import VARIANTS
from training.batch import Batch, BatchMaker
from training.stages import STAGES, StageName

CLIP = FakeSource().load(0, 0)
LATENTS = CLIP.frames.transpose(0, 1)  # [C, T, H, W]


def make(count: int = 1, stage: StageName = "joint", variant: str = "512", **conditioning) -> Batch:
    described = VARIANTS[variant]
    maker = BatchMaker(
        encoders=FakeEncoders(),  # type: ignore[arg-type]
        schedule=schedule_of(described),
        variant=described,
        stage=STAGES[stage],
        conditioning=tiny_config("out", conditioning=conditioning).conditioning,
        timesteps="uniform",
        seed=3,
    )
    return maker([CLIP] * count, list(range(count)))


def row_of_frame(batch: Batch, row: int) -> int:
    """The frame that a sample's concat latents repeat."""
    assert batch.concat is not None
    matches = [f for f in range(FRAMES) if torch.equal(batch.concat[row, :, 0], LATENTS[:, f])]
    assert len(matches) == 1
    return matches[0]


def test_both_streams_see_the_same_random_frame():
    batch = make(40, drop_probability=0.0)
    assert batch.concat is not None and batch.image_tokens is not None
    frames = [row_of_frame(batch, row) for row in range(40)]
    assert set(frames) == set(range(FRAMES))
    for row, frame in enumerate(frames):
        repeated = LATENTS[:, frame : frame + 1].expand(-1, FRAMES, -1, -1)
        assert torch.equal(batch.concat[row], repeated)
        expected = FakeEncoders().image_tokens(CLIP, frame)
        assert torch.equal(batch.image_tokens[row], expected)


def test_dropping_rates_in_batches_and_a_concat_that_is_never_dropped():
    batch = make(3000)
    assert batch.image_tokens is not None and batch.concat is not None
    text = (batch.text == FakeEncoders().text([""])).flatten(1).all(dim=1)
    image = (batch.image_tokens == 0).flatten(1).all(dim=1)
    shares = [(text & ~image), (text & image), (image & ~text)]
    # Three standard deviations of a share of 5 % among 3000.
    assert [float(s.float().mean()) for s in shares] == pytest.approx([0.05] * 3, abs=0.012)
    assert bool((batch.concat != 0).flatten(1).any(dim=1).all())


def test_noise_and_target_follow_the_schedule():
    batch = make(200)
    schedule = schedule_of(VARIANTS["512"])
    for row in range(0, 200, 40):
        t = int(batch.timesteps[row])
        signal, spread = schedule.alphas_cumprod[t].sqrt(), (1 - schedule.alphas_cumprod[t]).sqrt()
        x0 = schedule.scale[t] * LATENTS
        # From v = a e - s x0 and x = a x0 + s e: x0 = a x - s v.
        found = signal * batch.noisy[row] - spread * batch.target[row]
        torch.testing.assert_close(found, x0, atol=1e-4, rtol=1e-4)
    counts = np.histogram(batch.timesteps, bins=4, range=(0, 1000))[0]
    assert counts.min() > 30


def test_interpolation_is_zero_between_the_ends_and_a_loop_returns():
    between = make(concat={"interpolate": 1.0}).concat
    assert between is not None
    assert torch.equal(between[0, :, 0], LATENTS[:, 0])
    assert torch.equal(between[0, :, -1], LATENTS[:, -1])
    assert float(between[0, :, 1:-1].abs().max()) == 0
    loop = make(concat={"loop": 1.0}).concat
    assert loop is not None
    assert torch.equal(loop[0, :, 0], loop[0, :, -1])


def test_leakage_noise_is_on_the_concat_latents_alone():
    plain, noisy = (make(300, concat={"first": 1.0}, cil_noise=on) for on in (False, True))
    assert plain.concat is not None and noisy.concat is not None
    spread = (noisy.concat - plain.concat).flatten(1).std(dim=1)
    late = noisy.timesteps > 900
    early = noisy.timesteps < 500
    # 100 sigmoid(N(mu, 1)): mu is -1 at low timesteps and rises to 1 at the last.
    assert float(spread[early].mean()) == pytest.approx(30, abs=4)
    assert float(spread[late].mean()) == pytest.approx(60, abs=12)
    assert float(noisy.noisy.abs().max()) < 10
    assert torch.equal(noisy.image_tokens, plain.image_tokens)  # type: ignore[arg-type]


def test_image_stages_see_one_frame_and_no_concat():
    batch = make(stage="projector")
    assert batch.noisy.shape[2] == batch.target.shape[2] == 1
    assert batch.concat is None and batch.image_tokens is not None
    text = make(stage="text_to_video")
    assert text.concat is None and text.image_tokens is None
    assert text.noisy.shape[2] == FRAMES


def test_speed_is_the_rate_or_the_stride_as_the_variant_wants():
    assert make(variant="512").speed.tolist() == [8.0]
    assert make(variant="256").speed.tolist() == [2.0]


def test_motion_captions_replace_their_share():
    encoders = FakeEncoders()
    whole, motion = (encoders.text([c])[0] for c in (CLIP.caption, CLIP.motion_caption))
    batch = make(400, drop_probability=0.0, motion_captions=0.25)
    short = [torch.equal(row, motion) for row in batch.text]
    assert all(s or torch.equal(row, whole) for s, row in zip(short, batch.text, strict=True))
    assert np.mean(short) == pytest.approx(0.25, abs=0.06)


def test_a_sample_does_not_depend_on_its_batch():
    together, described = make(4), VARIANTS["512"]
    maker = BatchMaker(
        encoders=FakeEncoders(),  # type: ignore[arg-type]
        schedule=schedule_of(described),
        variant=described,
        stage=STAGES["joint"],
        conditioning=tiny_config("out").conditioning,
        timesteps="uniform",
        seed=3,
    )
    alone = maker([CLIP], [2])
    assert torch.equal(alone.noisy[0], together.noisy[2])
    assert torch.equal(alone.text[0], together.text[2])


class Dark(BatchMaker):
    """Shows the guidance another clip."""

    def picture_latents(self, clip, latents, generator):
        del clip, generator
        return latents - 1


def test_visual_detail_guidance_may_be_cut_from_other_latents():
    plain = make(4, drop_probability=0.0, concat={"first": 1.0})
    described = VARIANTS["512"]
    config = tiny_config("out", conditioning={"drop_probability": 0.0, "concat": {"first": 1.0}})
    dark = Dark(
        encoders=FakeEncoders(),  # type: ignore[arg-type]
        schedule=schedule_of(described),
        variant=described,
        stage=STAGES["joint"],
        conditioning=config.conditioning,
        timesteps="uniform",
        seed=3,
    )([CLIP] * 4, list(range(4)))
    assert plain.concat is not None and dark.concat is not None
    assert torch.equal(dark.concat, plain.concat - 1)
    assert torch.equal(dark.noisy, plain.noisy)
