import numpy as np
import pytest
import torch

from dc_model.encoders.autoencoder import Autoencoder, AutoencoderArch, detect_autoencoder
from dc_model.encoders.clip import Towers, detect_towers
from research.small_world.world.dataset import SmallWorld
from research.small_world.world.render import signed_distance
from research.small_world.world.scenes import (
    COLOURS,
    MOTIONS,
    SHAPES,
    WORDINGS,
    is_held_out,
    make_scene,
)
from training.vocabulary import END, START, tokenize


def test_scenes_are_functions_of_their_number():
    assert make_scene(3, 7) == make_scene(3, 7)
    assert make_scene(3, 7) != make_scene(3, 8)
    assert make_scene(3, 7) != make_scene(4, 7)


def test_held_out_combinations_never_train():
    train = [make_scene(0, i, "train") for i in range(400)]
    held = [make_scene(0, i, "held_out") for i in range(100)]
    assert not any(is_held_out(s.shape, s.colour, s.motion) for s in train)
    assert all(is_held_out(s.shape, s.colour, s.motion) for s in held)
    share = np.mean([is_held_out(k, c, m) for k in SHAPES for c in COLOURS for m in MOTIONS])
    assert share == pytest.approx(1 / 7, abs=0.02)
    assert {s.shape for s in held} == set(SHAPES) and {s.motion for s in held} == set(MOTIONS)


def test_captions_name_colour_kind_and_motion_and_fit_the_vocabulary():
    scenes = [make_scene(0, i, "all") for i in range(WORDINGS * 6)]
    for scene in scenes:
        assert scene.colour in scene.caption and scene.shape in scene.caption
        assert scene.motion_caption in scene.caption
    tokens = tokenize([s.caption for s in scenes])
    assert tokens.shape == (len(scenes), 77)
    assert (tokens[:, 0] == START).all() and ((tokens == END).sum(dim=1) == 1).all()
    assert len({s.caption for s in scenes}) > 100


def test_tokens_are_clips_own():
    # CLIP's own tokenizer: start, "the", "cyan" in two pieces, "ring", "grows", end.
    ids = tokenize(["the cyan ring grows"])[0]
    count = int((ids == END).int().argmax())
    assert ids[:2].tolist() == [START, 518]
    assert ids[2:4].tolist() == [1470, 550]
    assert count == 6 and ids[count + 1 :].sum() == 0
    with pytest.raises(KeyError):
        tokenize(["a dog runs"])


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_closed_and_reach_their_radius(shape: str):
    axis = np.linspace(-30, 30, 121)
    x, y = np.meshgrid(axis, axis)
    inside = signed_distance(shape, x, y, 10.0) < 0
    assert inside.any()
    assert np.hypot(x, y)[inside].max() < 14
    assert np.hypot(x, y)[inside].max() > 9


def test_dataset_yields_captioned_clips():
    clip = SmallWorld(10).load(3, draw=0)
    assert clip.frames.shape == (16, 3, 64, 64)
    assert clip.frames.min() >= -1 and clip.frames.max() <= 1
    assert clip.caption == make_scene(0, 3).caption


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in module.state_dict().items()}


def test_autoencoder_is_detected_and_folding_keeps_images():
    arch = AutoencoderArch(channels=32, channel_mult=(1, 1, 2), num_res_blocks=2)
    vae = Autoencoder(arch).eval()
    assert detect_autoencoder(shapes(vae)) == arch
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(images))
        means, logvar = vae.moments(images)
        spread = means.std(dim=(0, 2, 3))
        vae.fold_statistics(means.mean(dim=(0, 2, 3)), spread)
        latents = vae.encode(images)
        after, after_logvar = vae.decode(latents), vae.moments(images)[1]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    gain = 1 / (spread * 0.18215)
    expected = logvar + 2 * gain.log().view(1, 4, 1, 1)
    torch.testing.assert_close(after_logvar, expected, atol=1e-4, rtol=1e-4)


def test_towers_are_detected_and_causal():
    towers = Towers().eval()
    assert detect_towers(shapes(towers)) == towers.arch
    for heads in ({"text_head": 7}, {"vision_head": 7}, {"text_head": 128}):
        with pytest.raises(ValueError, match="is not made of heads"):
            detect_towers(shapes(towers), **heads)
    tokens = tokenize(["a red circle moves left", "a red circle moves right"])
    with torch.no_grad():
        out = towers.text(tokens)
    torch.testing.assert_close(out[0, :5], out[1, :5])
    assert not torch.allclose(out[0, 5:], out[1, 5:])
