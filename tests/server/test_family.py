"""Across the variants: each end to end, detected, sampled on all paths, decoded."""

from typing import Any

import pytest
import small_checkpoint
import torch
from family import (
    CFG,
    LENGTH,
    SIZE,
    SPEEDS,
    STEPS,
    Run,
    bare,
    conditionings,
    k_sampler,
    length_of,
    takes_image,
    wire,
)
from graphs import Graph, Link
from patterns import covering
from reference import Reference
from safetensors.torch import load_file, save_file
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

from dc_model.frames import fold_frames, unfold_frames
from dc_model.toon.dual_reference_vae import DualReferenceVAE
from dc_model.toon.sketch_controlnet import SketchControlNet, sketch_control

pytestmark = pytest.mark.server

TOLERANCE = 1e-3


def stock_custom(graph: Graph, made: Animation, noise: Link) -> Link:
    guider = graph.add(
        "CFGGuider", model=made.model, positive=made.positive, negative=made.negative, cfg=CFG
    )[0]
    euler = graph.add("KSamplerSelect", sampler_name="euler")[0]
    return made.sample_custom(noise, guider, euler, made.scheduler(steps=STEPS))


@pytest.fixture(scope="module", params=list(SPEEDS))
def run(request: pytest.FixtureRequest, studio: Studio) -> Run:
    """All four ways to sample, in one prompt."""
    variant, graph = request.param, Graph()
    made = wire(studio, graph, variant)
    shape = (length_of(variant), 4, SIZE // 8, SIZE // 8)
    unit = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    noise = studio.noise(graph, unit)
    plain = {"steps": STEPS, "eta": 0.0, "cfg": CFG, "guidance_rescale": 0.0, "noise": noise}
    ddim = graph.add("DynamiCrafterDDIM", eta=0.0)[0]
    guider = made.guider(cfg=CFG, guidance_rescale=0.0)
    published = made.scheduler(steps=STEPS, ending="published")
    ours = made.sample(**plain, ending="published")
    results = studio.run(
        graph,
        **conditionings(made),
        ours=ours,
        clean=made.sample(**plain),
        own_custom=made.sample_custom(noise, guider, ddim, published),
        stock_custom=stock_custom(graph, made, noise),
        k_sampler=k_sampler(graph, made),
        frames=graph.add("VAEDecode", vae=made.vae, samples=ours)[0],
    )
    file = studio.checkpoints / bare(studio, variant)
    return Run(variant, unit, results, Reference(file, variant))


def test_our_sampler_is_the_published_method(run: Run) -> None:
    assert relative_error(run.latent("ours"), run.expected()) < TOLERANCE


def test_our_parts_in_custom_sampling_give_the_same(run: Run) -> None:
    assert relative_error(run.latent("own_custom"), run.latent("ours")) < 1e-5


def test_stock_guider_and_euler_give_our_clean_ending(run: Run) -> None:
    assert relative_error(run.latent("stock_custom"), run.latent("clean")) < TOLERANCE


def test_the_stock_sampler_makes_a_video_too(run: Run) -> None:
    latent = run.latent("k_sampler")
    assert latent.shape == (length_of(run.variant), 4, SIZE // 8, SIZE // 8)
    assert latent.isfinite().all()
    assert latent.std() > 0.1


def test_stock_decoding_gives_every_frame(run: Run) -> None:
    frames = run.results["frames"]["value"]
    assert frames.shape == (length_of(run.variant), SIZE, SIZE, 3)
    assert frames.isfinite().all()


def test_only_image_models_carry_images(run: Run) -> None:
    assert (run.conditions[0][1] is not None) == takes_image(run.variant)
    assert (run.concat is not None) == (not run.variant.startswith("videocrafter"))


def analytic(graph: Graph, made: Animation, file: str, **options: Any) -> Link:
    settings = {"seed": 7, "start_timestep": 940, **options}
    return graph.add("DynamiCrafterAnalyticInit", model=made.model, init_file=file, **settings)[0]


@pytest.fixture(scope="module")
def init_file(studio: Studio) -> str:
    generator = torch.Generator().manual_seed(1)
    expectation = torch.randn(1, 4, 16, 40, 64, generator=generator)
    path = studio.checkpoints / "initial_noise_512.pt"
    torch.save({"Expectation_X0": expectation, "Tr_Cov_d": torch.tensor(0.808)}, path)
    return path.name


def test_analytic_init_starts_at_m_for_any_size_and_length(
    studio: Studio, graph: Graph, init_file: str
) -> None:
    made = wire(studio, graph, "cil_512")
    noise = analytic(graph, made, init_file)
    latent = made.sample(
        steps=STEPS,
        cfg=CFG,
        guidance_rescale=0.0,
        noise=noise,
        start_timestep=940,
        ending="published",
    )
    results = studio.run(graph, **conditionings(made), latent=latent)
    checkpoint = bare(studio, "cil_512")
    reference = Reference(studio.checkpoints / checkpoint, "cil_512")
    unit = torch.randn(1, 4, LENGTH, 8, 8, generator=torch.Generator().manual_seed(7))
    mean = torch.load(studio.checkpoints / init_file, weights_only=True)["Expectation_X0"]
    mean = torch.nn.functional.adaptive_avg_pool3d(mean, (LENGTH, 8, 8))
    alpha = float(reference.alphas[939])
    start = alpha**0.5 * mean + (1 - alpha + alpha * 0.808) ** 0.5 * unit
    run = Run("cil_512", fold_frames(start), results, reference)
    assert relative_error(results["latent"]["value.samples"], run.expected(start=940)) < TOLERANCE


def test_analytic_init_without_a_file_and_from_samples(studio: Studio, graph: Graph) -> None:
    made = wire(studio, graph, "cil_512")
    generator = torch.Generator().manual_seed(2)
    samples = torch.randn(3 * LENGTH, 4, 8, 8, generator=generator) * 5 + 2
    measured = analytic(
        graph, made, "built-in", statistics_from=studio.latent(graph, samples, LENGTH)
    )
    built_in = analytic(graph, made, "built-in")
    results = studio.run(
        graph,
        built_in=graph.add("TestDrawNoise", noise=built_in, latent=made.latent)[0],
        measured=graph.add("TestDrawNoise", noise=measured, latent=made.latent)[0],
    )
    checkpoint = bare(studio, "cil_512")
    alpha = float(Reference(studio.checkpoints / checkpoint, "cil_512").alphas[939])
    unit = torch.randn(1, 4, LENGTH, 8, 8, generator=torch.Generator().manual_seed(7))
    wider = (1 - alpha + alpha * 0.808) ** 0.5 * fold_frames(unit)
    assert relative_error(results["built_in"]["value.samples"], wider) < 1e-5
    videos = unfold_frames(samples * 0.18215, LENGTH)
    spread = float(videos.var(dim=0).mean())
    start = alpha**0.5 * videos.mean(dim=0, keepdim=True)
    start = start + (1 - alpha + alpha * spread) ** 0.5 * unit
    assert relative_error(results["measured"]["value.samples"], fold_frames(start)) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"init_file": "small"}, "Expectation_X0"), ({"statistics_from": 1}, "at least 2 videos")],
)
def test_analytic_init_says_what_is_wrong(
    studio: Studio, graph: Graph, options: dict[str, Any], message: str
) -> None:
    made = wire(studio, graph, "cil_512")
    if "init_file" in options:
        file = studio.small_checkpoint("cil_512")
        options = {**options, "init_file": file}
    else:
        options = {"init_file": "built-in", "statistics_from": made.latent}
    node = graph.add(
        "DynamiCrafterAnalyticInit", model=made.model, seed=1, start_timestep=940, **options
    )
    assert message in studio.error(graph, node[0])


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


@pytest.fixture(scope="module")
def sketch_file(studio: Studio) -> str:
    path = studio.server.base / "models" / "controlnet" / "sketch_encoder.safetensors"
    return small_checkpoint.write_sketch_controlnet(path).name


def sketched(graph: Graph, made: Animation, file: str, sketches: Link, **options: Any) -> Animation:
    settings = {"frames": "", "strength": 0.6, "start_percent": 0.0, "end_percent": 1.0, **options}
    node = graph.add(
        "DynamiCrafterSketchControl",
        positive=made.positive,
        negative=made.negative,
        control_net_name=file,
        sketches=sketches,
        **settings,
    )
    made.positive, made.negative = node[0], node[1]
    return made


class SketchReference(Reference):
    """The reference with a sketch ControlNet beside its U-Net."""

    def __init__(self, studio: Studio, sketch_file: str, sketches: Tensor, frames: list[int]):
        file = bare(studio, "toon_512")
        super().__init__(studio.checkpoints / file, "toon_512")
        self.network = SketchControlNet(small_checkpoint.SMALL_SKETCH)
        folder = studio.server.base / "models" / "controlnet"
        self.network.load_state_dict(load_file(folder / sketch_file))
        self.network.eval().requires_grad_(False)
        self.hints, self.frames = sketches.mean(dim=-1).unsqueeze(1), frames

    def predict(
        self, x: Tensor, t: int, text: Tensor, speed: int, image: Tensor | None, concat: Tensor
    ) -> Tensor:
        video, times = x.float(), torch.tensor([t])
        control = sketch_control(
            self.network, video, times, text[:, :77], self.hints, self.frames, strength=0.6
        )
        control = {key: list(residuals) for key, residuals in control.items()}
        both = torch.cat([video, concat], dim=1)
        speeds = torch.tensor([speed])
        return self.unet(both, times, text, image, speeds, control=control).double()


@pytest.mark.parametrize("frames", ["0, -1", "", "2"])
def test_sketches_of_some_frames_guide_the_video(
    studio: Studio, graph: Graph, sketch_file: str, frames: str
) -> None:
    named = [int(f) % LENGTH for f in frames.split(",")] if frames else list(range(LENGTH))
    sketches = torch.cat([picture(SIZE, SIZE, i / 2) for i in range(len(named))])
    made = wire(studio, graph, "toon_512")
    sketched(graph, made, sketch_file, studio.image(graph, sketches), frames=frames)
    unit = torch.randn(LENGTH, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    latent = made.sample(
        steps=STEPS,
        cfg=CFG,
        guidance_rescale=0.0,
        noise=studio.noise(graph, unit),
        ending="published",
    )
    results = studio.run(graph, **conditionings(made), latent=latent)
    reference = SketchReference(studio, sketch_file, sketches, named)
    run = Run("toon_512", unit, results, reference)
    found = results["latent"]["value.samples"]
    assert relative_error(found, run.expected()) < TOLERANCE
    file = bare(studio, "toon_512")
    free = Run("toon_512", unit, results, Reference(studio.checkpoints / file, "toon_512"))
    assert relative_error(found, free.expected()) > 0.01


def windows(graph: Graph, model: Link) -> Link:
    """Two windows of two frames that do not see each other."""
    return graph.add(
        "ContextWindowsManual",
        model=model,
        context_length=2,
        context_overlap=0,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        dim=0,
        freenoise=False,
        cond_retain_index_list="",
        split_conds_to_windows=False,
        latent_retain_index_list="",
        causal_window_fix=False,
    )[0]


def test_a_sketch_acts_in_the_context_window_of_its_frame(
    studio: Studio, graph: Graph, sketch_file: str
) -> None:
    made = wire(studio, graph, "toon_512")
    made.model = windows(graph, made.model)
    free = k_sampler(graph, made)
    sketched(graph, made, sketch_file, studio.image(graph, picture(SIZE, SIZE)), frames="3")
    results = studio.run(graph, free=free, guided=k_sampler(graph, made))
    found, expected = (results[key]["value.samples"] for key in ("guided", "free"))
    assert relative_error(found[:2], expected[:2]) < 1e-5
    assert relative_error(found[2:], expected[2:]) > 0.01


def test_a_sketch_acts_on_every_video_of_a_batch(
    studio: Studio, graph: Graph, sketch_file: str
) -> None:
    unit = torch.randn(LENGTH, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    latents = {}
    for videos in (1, 2):
        made = wire(studio, graph, "toon_512", batch_size=videos)
        sketched(graph, made, sketch_file, studio.image(graph, picture(SIZE, SIZE)), frames="1")
        noise = studio.noise(graph, unit.repeat(videos, 1, 1, 1))
        latents[f"videos_{videos}"] = made.sample(noise=noise, steps=STEPS)
    results = studio.run(graph, **latents)
    one = results["videos_1"]["value.samples"]
    assert relative_error(results["videos_2"]["value.samples"], torch.cat([one, one])) < 1e-4


@pytest.mark.parametrize(
    ("frames", "message"),
    [("", "2 sketches for 4 frames"), ("0", "one frame for each"), ("0, 9", "outside the video")],
)
def test_sketches_that_do_not_fit_are_refused(
    studio: Studio, graph: Graph, sketch_file: str, frames: str, message: str
) -> None:
    made = wire(studio, graph, "toon_512")
    two = studio.image(graph, torch.cat([picture(SIZE, SIZE)] * 2))
    sketched(graph, made, sketch_file, two, frames=frames)
    assert made.positive is not None
    assert message in studio.error(graph, made.positive)


def test_sketch_control_wants_a_length_and_its_own_file(
    studio: Studio, graph: Graph, sketch_file: str
) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("toon_512")).text("a")
    sketches = studio.image(graph, picture(SIZE, SIZE))
    sketched(graph, made, sketch_file, sketches, frames="0")
    assert made.positive is not None
    assert "after Visual Detail Guidance" in studio.error(graph, made.positive)
    folder = studio.server.base / "models" / "controlnet"
    save_file({"weight": torch.zeros(2)}, folder / "other.safetensors")
    graph = Graph()
    made = sketched(
        graph,
        wire(studio, graph, "toon_512"),
        "other.safetensors",
        studio.image(graph, picture(SIZE, SIZE)),
        frames="0",
    )
    assert made.positive is not None
    assert "other.safetensors: The file holds no sketch ControlNet" in studio.error(
        graph, made.positive
    )
