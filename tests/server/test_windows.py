"""Videos of any length, and the host's context windows over ours."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, WINDOWS, unit_noise
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

TOLERANCE = 1e-4
SAMPLES = "value.samples"
SCHEDULES = ["standard_static", "standard_uniform", "looped_uniform", "batched"]
LONG = 10
# Each adds to its input, so zeros make its whole branch silent.
LAST_TEMPORAL_LAYERS = re.compile(
    r"(init_attn\.0|middle_block\.2|put_blocks\.\d+\.2)\.proj_out|temopral_conv\.conv4\.3"
)


def stop_mixing_frames(tensors: dict[str, Tensor]) -> None:
    """Silences every layer that looks along time, so frames do not know of each other."""
    for key, tensor in tensors.items():
        if LAST_TEMPORAL_LAYERS.search(key):
            tensor.zero_()


def frame_pictures(count: int) -> Tensor:
    """A picture per frame `[T, H, W, 3]`, no two alike."""
    return torch.cat([picture(SIZE, SIZE, phase=0.7 * i) for i in range(count)])


class Film:
    """Graphs of one long video, whole or in pieces; every frame has its image, prompt and noise."""

    def __init__(
        self,
        studio: Studio,
        graph: Graph,
        *,
        mixing: bool = True,
        tokens: str = "auto",
        hints: bool = False,
    ):
        self.studio, self.graph, self.tokens, self.hints = studio, graph, tokens, hints
        still: dict[str, Any] = {"name": "-still", "edit": stop_mixing_frames}
        checkpoint = studio.small_checkpoint("512", wide=hints, **({} if mixing else still))
        self.noise = unit_noise(5, frames=LONG)
        self.pictures = frame_pictures(LONG)
        self.prompts = [f"scene {i // 3}" for i in range(LONG)]
        self.checkpoint = checkpoint

    def sample(
        self,
        frames: list[int],
        *,
        window: dict[str, Any] | None = None,
        steps: int = 1,
        **detail: Any,
    ) -> Link:
        """LATENT of these frames of the film, in this order, as a video of its own."""
        made = Animation(self.studio, self.graph, self.checkpoint)
        made.text("").context(self.studio.image(self.graph, picture(SIZE, SIZE)), self.tokens)
        lines = "\n".join(f"{i}: {self.prompts[f]}" for i, f in enumerate(frames))
        scheduled = self.graph.add(
            "DynamiCrafterPromptSchedule",
            clip=made.clip,
            prompts=lines,
            length=len(frames),
            blend_frames=0,
        )[0]
        made.positive = scheduled
        made.context(self.studio.image(self.graph, picture(SIZE, SIZE)), self.tokens)
        options = {"mode": "per_frame", **detail}
        images = self.pictures[frames] if options["mode"] == "per_frame" else self.pictures[:1]
        made.detail(self.studio.image(self.graph, images), SIZE, SIZE, len(frames), **options)
        if window is not None:
            made.model = windows(self.graph, made.model, **window)
        positive = self.control(made.positive, frames) if self.hints else made.positive
        guider = self.graph.add("BasicGuider", model=made.model, conditioning=positive)[0]
        return made.sample_custom(
            self.studio.noise(self.graph, self.noise[frames]),
            guider,
            self.graph.add("KSamplerSelect", sampler_name="euler")[0],
            # At the largest noise levels euler's own rounding would hide small differences.
            made.scheduler(steps=steps, start_timestep=600),
        )

    def control(self, positive: Link, frames: list[int]) -> Link:
        """A stock ControlNet with a hint for every frame."""
        hints = self.studio.image(self.graph, self.pictures[frames].flip(1))
        return self.graph.add(
            "ControlNetApplyAdvanced",
            positive=positive,
            negative=positive,
            control_net=self.graph.add("TestControlNet")[0],
            image=hints,
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
        )[0]


def windows(graph: Graph, model: Link, **options: Any) -> Link:
    """The stock node for context windows, here of four frames."""
    settings = {**WINDOWS, **options}
    return graph.add("ContextWindowsManual", model=model, **settings)[0]


@pytest.mark.parametrize("length", [1, 2, 5, 64])
def test_any_length(studio: Studio, graph: Graph, length: int) -> None:
    """Frames that do not know of each other come out alike at any length."""
    checkpoint = studio.small_checkpoint("512", name="-still", edit=stop_mixing_frames)
    noise = unit_noise(3, frames=1)

    def sample(frames: int) -> Link:
        made = Animation(studio, graph, checkpoint)
        image = studio.image(graph, picture(SIZE, SIZE))
        made.text("a cloud").context(image, "shared").detail(image, SIZE, SIZE, frames)
        given = studio.noise(graph, noise.repeat(frames, 1, 1, 1))
        return made.sample(steps=1, guidance_rescale=0.0, noise=given)

    found = studio.run(graph, video=sample(length), frame=sample(1))
    video, frame = found["video"][SAMPLES], found["frame"][SAMPLES]
    assert relative_error(video, frame.repeat(length, 1, 1, 1)) < TOLERANCE


def test_a_window_is_a_video_of_its_own(studio: Studio, graph: Graph) -> None:
    """Windows without overlap equal separate runs, with images, prompts and image tokens."""
    film = Film(studio, graph, hints=True)
    frames = list(range(8))
    found = studio.run(
        graph,
        whole=film.sample(frames, window={}, steps=2),
        first=film.sample(frames[:4], steps=2),
        second=film.sample(frames[4:], steps=2),
        plain=film.sample(frames, steps=2),
    )
    pieces = torch.cat([found["first"][SAMPLES], found["second"][SAMPLES]])
    assert relative_error(found["whole"][SAMPLES], pieces) < TOLERANCE
    assert relative_error(found["whole"][SAMPLES], found["plain"][SAMPLES]) > 0.01


@pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal_window_fix"])
@pytest.mark.parametrize("mode", ["per_frame", "keyframes"])
def test_windows_change_nothing_where_frames_do_not_mix(
    studio: Studio, graph: Graph, causal: bool, mode: str
) -> None:
    """Every schedule slices images, keyframes, prompts and ControlNet hints to the right frames."""
    film = Film(studio, graph, mixing=False, tokens="shared", hints=True)
    frames = list(range(LONG))
    detail: dict[str, Any] = {"mode": mode}
    if mode == "keyframes":
        chain = None
        for frame in (3, 6, -1):
            image = studio.image(graph, film.pictures[frame][None])
            chain = graph.add("DynamiCrafterKeyframe", image=image, frame=frame, keyframes=chain)[0]
        detail["keyframes"] = chain
    plain = film.sample(frames, steps=2, **detail)
    options: dict[str, Any] = {"context_overlap": 2, "causal_window_fix": causal}
    windowed: dict[str, Any] = {
        schedule: film.sample(
            frames,
            window={**options, "context_schedule": schedule, "fuse_method": fuse},
            steps=2,
            **detail,
        )
        for schedule, fuse in zip(
            SCHEDULES, ["pyramid", "flat", "relative", "overlap-linear"], strict=True
        )
    }
    found = studio.run(graph, plain=plain, **windowed)
    for schedule in SCHEDULES:
        error = relative_error(found[schedule][SAMPLES], found["plain"][SAMPLES])
        assert error < TOLERANCE, (schedule, error)


def test_an_anchor_frame_takes_no_window_frames_slot(studio: Studio, graph: Graph) -> None:
    """With tokens per slot, the frame before the window shifts nobody's image tokens."""
    film = Film(studio, graph, mixing=False)
    frames = list(range(8))
    found = studio.run(
        graph,
        without=film.sample(frames, window={}),
        anchored=film.sample(frames, window={"causal_window_fix": True}),
    )
    assert relative_error(found["anchored"][SAMPLES], found["without"][SAMPLES]) < TOLERANCE


def test_the_network_sees_the_anchor_frame(studio: Studio, graph: Graph) -> None:
    stock = studio.server.object_info()["ContextWindowsManual"]["input"]
    if "causal_window_fix" not in {**stock["required"], **stock.get("optional", {})}:
        pytest.skip("this ComfyUI has no causal_window_fix")
    film = Film(studio, graph, tokens="shared", hints=True)
    found = studio.run(
        graph,
        whole=film.sample(list(range(8)), window={"causal_window_fix": True}),
        anchored=film.sample([3, 4, 5, 6, 7]),
    )
    expected = found["anchored"][SAMPLES][1:]
    assert relative_error(found["whole"][SAMPLES][4:], expected) < TOLERANCE


def test_a_closed_loops_last_frame_precedes_its_first(studio: Studio, graph: Graph) -> None:
    film = Film(studio, graph)
    looped = {"context_schedule": "looped_uniform", "context_overlap": 1}
    frames = list(range(7))
    found = studio.run(
        graph,
        closed=film.sample(frames, window={**looped, "closed_loop": True}),
        open=film.sample(frames, window=looped),
        seam=film.sample([6, 0, 1, 2]),
    )
    closed, opened = found["closed"][SAMPLES], found["open"][SAMPLES]
    # Frame 6 is the last of one window and the first of the closing one; both weigh the same.
    expected = (opened[6] + found["seam"][SAMPLES][0]) / 2
    assert relative_error(closed[6], expected) < TOLERANCE
    assert relative_error(closed[3:6], opened[3:6]) < TOLERANCE
    assert relative_error(closed[0], opened[0]) > 0.01


def test_freenoise_reuses_the_first_windows_noise(studio: Studio, graph: Graph) -> None:
    """Frames that differ in their noise alone: later ones are earlier ones in another order."""
    film = Film(studio, graph, mixing=False, tokens="shared")
    film.prompts = ["a cloud"] * LONG
    options = {"context_overlap": 2, "context_schedule": "standard_static", "freenoise": True}
    found = studio.run(graph, latent=film.sample(list(range(8)), window=options, mode="animate"))
    latent = found["latent"][SAMPLES]
    for start in (4, 6):
        later, earlier = latent[start : start + 2], latent[start - 4 : start - 2]
        same, swapped = (relative_error(later, e) for e in (earlier, earlier.flip(0)))
        assert min(same, swapped) < TOLERANCE
    assert relative_error(latent[0], latent[1]) > 0.1


def test_several_videos_in_windows_are_refused(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    image = studio.image(graph, picture(SIZE, SIZE))
    made.text("a cloud").context(image).detail(image, SIZE, SIZE, FRAMES, batch_size=2)
    made.model = windows(graph, made.model)
    assert "2 videos of 4 frames" in studio.error(graph, made.sample(steps=1))


def test_windows_along_another_dimension_are_refused(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    image = studio.image(graph, picture(SIZE, SIZE))
    made.text("a cloud").context(image).detail(image, SIZE, SIZE, FRAMES)
    made.model = windows(graph, made.model, dim=2)
    assert "set dim to 0" in studio.error(graph, made.sample(steps=1))


@pytest.mark.parametrize(
    ("size", "more_mib"), [((40, 64), 110), ((72, 128), 394)], ids=["512", "1024"]
)
def test_windows_hold_the_memory_of_64_frames(
    root: Path, size: tuple[int, int], more_mib: int
) -> None:
    """At real size, counted: so little more than 16 frames, also with an anchor frame."""
    counting = _load_module(root / "benchmarks" / "count_memory.py")
    # Whole videos that sampling keeps beside the network: state, noise, predictions, windows'
    # sums, concatenated latents; fp32, counted generously.
    whole_videos, bytes_per_value = 32, 4

    def peak(network_frames: int, video_frames: int) -> float:
        arch = counting.UNetArch()
        activations = counting.peak_mib(arch, size, network_frames, 1, torch.float16)
        values = whole_videos * video_frames * 4 * size[0] * size[1]
        return activations + values * bytes_per_value / counting.MIB

    assert peak(17, 64) - peak(16, 16) <= more_mib


def _load_module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
