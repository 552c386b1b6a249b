"""ToonCrafter's decoder on the server: references, pieces and memory settings."""

from typing import Any

import pytest
import torch
from family import (
    SIZE,
    bare,
)
from graphs import Graph, Link
from patterns import covering
from reference import Reference
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

from dc_model.frames import fold_frames, unfold_frames
from dc_model.toon.dual_reference_vae import DualReferenceVAE

pytestmark = pytest.mark.server

TOLERANCE = 1e-3


class Toon:
    """The small ToonCrafter's VAE, plain."""

    def __init__(self, studio: Studio):
        file = bare(studio, "toon_512")
        self.vae: DualReferenceVAE = Reference(
            studio.checkpoints / file, "toon_512"
        ).dual_reference_vae()

    def expected(self, latents: Tensor, first: Tensor, last: Tensor) -> Tensor:
        height, width = (8 * side for side in latents.shape[-2:])
        ends = [covering(i, height, width).movedim(-1, 1) * 2 - 1 for i in (first, last)]
        references = self.vae.encode_references(*ends)
        video = self.vae.decode_published(unfold_frames(latents, len(latents)), references)
        return (fold_frames(video).movedim(1, -1) / 2 + 0.5).clamp(0, 1)


def decode(graph: Graph, made: Animation, samples: Link, **options: Any) -> Link:
    settings = {"chunk_frames": 0, "tile_size": 0, "drop_last_frame": False, **options}
    return graph.add("DynamiCrafterVideoDecode", vae=made.vae, samples=samples, **settings)[0]


def test_toon_decoding_looks_at_both_references(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, bare(studio, "toon_512"))
    latents = torch.randn(18, 4, 4, 5, generator=torch.Generator().manual_seed(4))
    first, last = picture(40, 96), picture(32, 40, 1.0)
    ends = {"first_image": studio.image(graph, first), "last_image": studio.image(graph, last)}
    one = studio.latent(graph, latents[:7])
    two = studio.latent(graph, torch.cat([latents[:7], latents[7:14]]), 7)
    results = studio.run(
        graph,
        one=decode(graph, made, one, **ends),
        two=decode(graph, made, two, **ends),
        long=decode(graph, made, studio.latent(graph, latents), **ends),
        plain=decode(graph, made, one),
        chunks=decode(graph, made, one, chunk_frames=2, **ends),
    )
    toon = Toon(studio)
    expected = toon.expected(latents[:7], first, last)
    assert relative_error(results["one"]["value"], expected) < TOLERANCE
    assert relative_error(results["long"]["value"], toon.expected(latents, first, last)) < TOLERANCE
    both = torch.cat([expected, toon.expected(latents[7:14], first, last)])
    assert relative_error(results["two"]["value"], both) < TOLERANCE
    assert relative_error(results["plain"]["value"], expected) > 0.01
    assert relative_error(results["chunks"]["value"], expected) < TOLERANCE


def test_toon_decoding_takes_smaller_pieces_when_memory_is_short(
    studio: Studio, graph: Graph
) -> None:
    made = Animation(studio, graph, bare(studio, "toon_512"))
    latents = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(4))
    image = studio.image(graph, picture(32, 32))
    ends = {"first_image": image, "last_image": image}
    samples = studio.latent(graph, latents)
    whole, plain = decode(graph, made, samples, **ends), decode(graph, made, samples)
    made.vae = graph.add("TestScarceMemory", vae=made.vae, frames=2)[0]
    short = decode(graph, made, samples, **ends)
    short_plain = decode(graph, made, samples)
    stock = graph.add("VAEDecode", vae=made.vae, samples=samples)[0]
    outputs = {"whole": whole, "plain": plain, "short": short, "short_plain": short_plain}
    found = studio.run(graph, stock=stock, **outputs)
    assert relative_error(found["short"]["value"], found["whole"]["value"]) < TOLERANCE
    for name in ("short_plain", "stock"):
        assert relative_error(found[name]["value"], found["plain"]["value"]) < TOLERANCE, name


def test_toon_decoding_is_the_same_whatever_the_memory_settings(
    studio: Studio, graph: Graph
) -> None:
    """Each of two videos is decoded alone and whole; only tiles smaller than the picture differ."""
    made = Animation(studio, graph, bare(studio, "toon_512"))
    pair = torch.randn(2, 18, 4, 8, 12, generator=torch.Generator().manual_seed(4))
    samples = studio.latent(graph, pair.flatten(0, 1), 18)
    single = studio.latent(graph, pair[0])
    covering = {"tile_size": 512, "overlap": 64, "temporal_size": 8, "temporal_overlap": 4}
    settings = [{"chunk_frames": n} for n in (0, 8, 1)] + [{"tile_size": 128}]
    outputs = {str(s): decode(graph, made, samples, **s) for s in settings}
    found = studio.run(
        graph,
        stock=graph.add("VAEDecode", vae=made.vae, samples=single)[0],
        stock_tiled=graph.add("VAEDecodeTiled", vae=made.vae, samples=single, **covering)[0],
        tiles=decode(graph, made, single, tile_size=64),
        **outputs,
    )
    vae = Toon(studio).vae

    def alone(latents: Tensor) -> Tensor:
        video = vae.decode(latents.movedim(1, 0)[None], chunk_frames=len(latents))
        return (video[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1)  # [T, H, W, 3]

    videos = [alone(latents) for latents in pair]
    for name in outputs:
        assert relative_error(found[name]["value"], torch.cat(videos)) < 1e-4, name
    for name in ("stock", "stock_tiled"):
        assert relative_error(found[name]["value"], videos[0]) < 1e-4, name
    # The first tile of 8 x 8 latents shares its last 2 with the next.
    corner = alone(pair[0, :, :, :8, :8])[:, :48, :48]
    assert relative_error(found["tiles"]["value"][:, :48, :48], corner) < 1e-4


def test_stock_nodes_encode_decode_and_tile_with_the_toon_vae(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, bare(studio, "toon_512"))
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    images = torch.cat([picture(SIZE, SIZE, i) for i in range(3)])
    samples = studio.latent(graph, latents)
    tiles = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}
    results = studio.run(
        graph,
        encoded=graph.add("VAEEncode", vae=made.vae, pixels=studio.image(graph, images))[0],
        decoded=graph.add("VAEDecode", vae=made.vae, samples=samples)[0],
        tiled=graph.add("VAEDecodeTiled", vae=made.vae, samples=samples, **tiles)[0],
    )
    vae = Toon(studio).vae
    mode = vae.encode(images.movedim(-1, 1) * 2 - 1)[:, :4]
    assert relative_error(results["encoded"]["value.samples"], mode) < TOLERANCE
    video = fold_frames(vae.decode(unfold_frames(latents, 3))).movedim(1, -1)
    frames = (video / 2 + 0.5).clamp(0, 1)
    assert relative_error(results["decoded"]["value"], frames) < TOLERANCE
    assert relative_error(results["tiled"]["value"], frames) < TOLERANCE


def test_references_need_the_toon_vae_both_images_and_no_tiles(studio: Studio) -> None:
    for variant, options, message in (
        ("512", ("first_image", "last_image"), "ToonCrafter"),
        ("toon_512", ("first_image",), "without last_image"),
        ("toon_512", ("last_image",), "without first_image"),
        ("toon_512", ("first_image", "last_image", "tile"), "tile_size is 256"),
    ):
        graph = Graph()
        made = Animation(studio, graph, studio.small_checkpoint(variant))
        image = studio.image(graph, picture(SIZE, SIZE))
        given: dict[str, Any] = {name: image for name in options if name != "tile"}
        samples = studio.latent(graph, torch.zeros(2, 4, 8, 8))
        tile_size = 256 if "tile" in options else 0
        decoded = decode(graph, made, samples, tile_size=tile_size, **given)
        assert message in studio.error(graph, decoded)
