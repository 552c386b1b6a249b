"""ToonCrafter's VAE against the published one, its laws, and its checkpoint layout."""

import pytest
import torch

from dc_model.checkpoint.layout import VAE_PREFIX, shapes
from dc_model.toon.dual_reference_vae import (
    DualReferenceArch,
    DualReferenceVAE,
    detect_dual_reference_arch,
)
from dc_model.unet.ops import sdpa

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def item(load_golden):
    return load_golden("vae_dualref_tiny")


@pytest.fixture(scope="module")
def vae(item):
    weights = item.weights()
    vae = DualReferenceVAE(detect_dual_reference_arch(shapes(weights)))
    vae.load_state_dict(weights)
    return vae.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def references(item):
    return [item[f"ref_context.{i}"] for i in range(5)]


@pytest.fixture(scope="module")
def latents(item):
    """`[1, 4, 6, 6, 8]`."""
    return item["z"].unsqueeze(0).transpose(1, 2)


def random_latents(frames, batch=1):
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(batch, 4, frames, 6, 8, generator=generator)


def within_half_precision(out, stored):
    """Equal within TOLERANCE beyond the rounding to half precision that the item is stored in."""
    assert stored.dtype == torch.float16
    _, exponent = torch.frexp(stored.float())
    rounding = torch.exp2((exponent - 12).float())  # half a unit in the last place
    excess = (out - stored.float()).abs() - rounding
    assert excess.max() < TOLERANCE


def frames_of(video):
    return video[0].transpose(0, 1)  # [T, 3, H, W]


class TestGolden:
    def test_moments(self, vae, item):
        moments = vae.encode(item["frames"])
        torch.testing.assert_close(moments, item["moments"], atol=TOLERANCE, rtol=0)

    def test_references(self, vae, item):
        first, last = item["frames"].chunk(2)
        found = vae.encode_references(first, last)
        assert len(found) == 5
        for i, reference in enumerate(found):
            within_half_precision(reference, item.tensors[f"ref_context.{i}"])

    def test_video_with_references(self, vae, item, latents, references):
        within_half_precision(
            frames_of(vae.decode(latents, references)), item.tensors["decoded_ref"]
        )

    def test_video_of_two_frames(self, vae, item, latents, references):
        video = vae.decode(latents[:, :, :2], references)
        within_half_precision(frames_of(video), item.tensors["decoded_ref_t2_first"])

    def test_video_without_references(self, vae, item, latents):
        within_half_precision(frames_of(vae.decode(latents)), item.tensors["decoded_noref"])


class TestLayout:
    def test_published_one_loads_without_missing_or_unexpected_key(self, load_manifest):
        published = load_manifest("tooncrafter_512_interp").part(VAE_PREFIX)
        arch = detect_dual_reference_arch(published)
        assert arch == DualReferenceArch()
        with torch.device("meta"):
            assert shapes(DualReferenceVAE(arch).state_dict()) == published

    def test_published_one_has_its_published_number_of_parameters(self):
        with torch.device("meta"):
            vae = DualReferenceVAE(DualReferenceArch())
        assert sum(p.numel() for p in vae.parameters()) == 99_941_907

    def test_a_missing_defining_key_is_named(self, item):
        found = shapes(item.weights())
        del found["decoder.conv_in.weight"]
        with pytest.raises(KeyError, match="conv_in"):
            detect_dual_reference_arch(found)


class TestReferences:
    def test_change_the_video(self, vae, latents, references):
        difference = (vae.decode(latents, references) - vae.decode(latents)).abs()
        assert difference.amax(dim=(0, 1, 3, 4)).min() > 0.1  # every frame

    def test_change_all_frames_by_their_place(self, vae, latents, references):
        swapped = [reference.flip(2) for reference in references]
        assert (vae.decode(latents, references) - vae.decode(latents, swapped)).abs().max() > 0.1

    def test_of_one_video_serve_all(self, vae, references):
        pair = random_latents(3, batch=2)
        both = vae.decode(pair, references)
        for i in range(2):
            one = vae.decode(pair[i : i + 1], references)
            torch.testing.assert_close(both[i : i + 1], one, atol=1e-4, rtol=0)

    def test_of_each_video_are_their_own(self, vae, item, latents):
        first, last = item["frames"].chunk(2)
        pair = vae.encode_references(torch.cat([first, last]), torch.cat([last, first]))
        both = vae.decode(latents.repeat(2, 1, 1, 1, 1), pair)
        single = vae.decode(latents, vae.encode_references(last, first))
        torch.testing.assert_close(both[1:], single, atol=1e-4, rtol=0)

    def test_of_unequal_sizes_are_refused(self, vae):
        with pytest.raises(ValueError, match="size of the video"):
            vae.encode_references(torch.zeros(1, 3, 48, 64), torch.zeros(1, 3, 48, 48))

    def test_of_another_size_than_the_video_are_refused(self, vae, references):
        with pytest.raises(ValueError, match=r"64x48 pixels.*64x64"):
            vae.decode(torch.zeros(1, 4, 2, 8, 8), references)

    def test_are_projected_once_not_once_per_frame(self, vae, latents, references):
        seen = []
        fusion = vae.decoder.attn_refinement[3]
        handle = fusion.to_k.register_forward_pre_hook(lambda _m, x: seen.append(x[0].shape))
        vae.decode(latents, references)
        handle.remove()
        assert seen == [(1, 2 * 6 * 8, 64)]


class TestChunks:
    @pytest.mark.parametrize("refined", [True, False])
    @pytest.mark.parametrize(("frames", "batch", "chunks"), [(2, 2, [1]), (17, 1, [1, 4, 12, 16])])
    def test_of_any_length_give_the_whole_video(self, vae, frames, batch, chunks, refined):
        latents = random_latents(frames, batch)[..., :2, :3]
        first, last = torch.randn(2, batch, 3, 16, 24, generator=torch.Generator().manual_seed(1))
        references = vae.encode_references(first, last) if refined else None
        whole = vae.decode(latents, references, chunk_frames=frames)
        for chunk in chunks:
            found = vae.decode(latents, references, chunk_frames=chunk)
            torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("chunk", [1, 3, 4])
    def test_of_any_length_give_the_published_video(self, vae, item, latents, references, chunk):
        for given, name in ((references, "decoded_ref"), (None, "decoded_noref")):
            video = vae.decode(latents, given, chunk)
            within_half_precision(frames_of(video), item.tensors[name])

    @pytest.mark.parametrize(
        ("frames", "options", "lengths"),
        [
            (1, {}, [1]),
            (16, {}, [16]),
            (17, {}, [9, 8]),
            (33, {}, [11, 11, 11]),
            (7, {"chunk_frames": 3}, [3, 2, 2]),
            (4, {"chunk_frames": 1}, [1] * 4),
        ],
    )
    def test_are_no_longer_than_asked_and_of_equal_length(self, vae, frames, options, lengths):
        seen = []
        handle = vae.decoder.conv_in.register_forward_pre_hook(
            lambda _m, x: seen.append(x[0].shape[0])
        )
        video = vae.decode(random_latents(frames)[..., :1, :1], **options)
        handle.remove()
        assert video.shape == (1, 3, frames, 8, 8)
        assert seen == lengths

    def test_wait_where_they_are_parked(self, vae, latents, references):
        """And are computed where the latents are: the meta device would lose their numbers."""
        with pytest.raises(NotImplementedError, match="meta"):
            vae.decode(latents, references, 2, torch.device("meta"))

    def test_of_no_frame_are_refused(self, vae, latents):
        with pytest.raises(ValueError, match="pieces of 0 frames"):
            vae.decode(latents, chunk_frames=0)


class TestPublishedBlend:
    @pytest.mark.parametrize("frames", [6, 7, 16])
    def test_takes_two_middle_frames_from_a_pass_without_the_outer_ones(
        self, vae, references, frames
    ):
        z = random_latents(frames)
        first = vae.decode(z, references)
        kept = [i for i in range(frames) if i not in (1, frames - 2)]
        second = vae.decode(z[:, :, kept], references)
        expected = first.clone()
        for frame in (frames // 2 - 1, frames // 2):
            expected[:, :, frame] = second[:, :, kept.index(frame)]
        blended = vae.decode_published(z, references)
        assert torch.equal(blended, expected)
        assert not torch.equal(blended, first)

    @pytest.mark.parametrize("frames", [1, 5])
    def test_short_videos_take_one_pass(self, vae, references, frames):
        z = random_latents(frames)
        assert torch.equal(vae.decode_published(z, references), vae.decode(z, references))


def test_host_attention_is_used(item, references, latents):
    calls = []

    def attend(q, k, v, heads, transformer_options):
        calls.append((tuple(q.shape), tuple(k.shape), heads))
        return sdpa(q, k, v, heads, transformer_options)

    weights = item.weights()
    vae = DualReferenceVAE(detect_dual_reference_arch(shapes(weights)), attention=attend)
    vae.load_state_dict(weights)
    with torch.no_grad():
        vae.decode(latents, references)
    assert calls == [
        ((6, 48, 64), (6, 48, 64), 1),
        ((1, 6 * 48, 512), (1, 2 * 48, 512), 8),
        ((1, 6 * 192, 512), (1, 2 * 192, 512), 8),
    ]
