"""Files in every layout and precision, refused files, and the memory that reading takes."""

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import small_checkpoint
import torch
from family import STEPS, Run, bare, published_sample, wire
from graphs import Graph
from outcome import bounded, runs
from reference import Reference, read
from safetensors.torch import load_file, save_file
from scene import Scene
from studio import PATIENCE, Animation, Studio, relative_error
from torch import Tensor

from dc_model.checkpoint.layout import DEEPSPEED_PREFIX, PROJECTOR_PREFIX, UNET_PREFIX, VAE_PREFIX

pytestmark = pytest.mark.server

TOLERANCE = 1e-3
Tensors = dict[str, Tensor]


def sample(
    studio: Studio,
    graph: Graph,
    variant: str,
    file: str,
    lender: str = "",
    weight_dtype: str = "fp32",
) -> Run:
    """A run of our sampler from a file, beside the reference with the same file's weights.

    The reference takes the schedule of the variant's own small checkpoint, since the loader makes
    up for buffers that a file lacks or has rounded.
    """
    made = wire(studio, graph, variant, file=file, lender=lender, weight_dtype=weight_dtype)
    unit, results = published_sample(studio, graph, made)
    whole = studio.checkpoints / bare(studio, variant)
    return Run(variant, unit, results, Reference(studio.checkpoints / file, variant, whole))


def error(run: Run) -> float:
    return relative_error(run.latent("latent"), run.expected())


def in_precision(dtype: torch.dtype, buffers: bool = True) -> Callable[[Tensors], Tensors]:
    """Every tensor in `dtype`; buffers: those of the schedule too."""
    return lambda tensors: {
        k: v.to(dtype) if "." in k or buffers else v for k, v in tensors.items()
    }


def keep(*prefixes: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {k: v for k, v in tensors.items() if k.startswith(prefixes)}


def bare_unet(tensors: Tensors) -> Tensors:
    kept = keep(UNET_PREFIX)(tensors)
    projector = keep(PROJECTOR_PREFIX)(tensors)
    return {k.removeprefix(UNET_PREFIX): v for k, v in kept.items()} | projector


def published_256_names(tensors: Tensors) -> Tensors:
    return {k.replace("fps_embedding", "framestride_embed"): v for k, v in tensors.items()}


def save(path: Path, tensors: Tensors) -> None:
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    else:
        torch.save(tensors, path)


LAYOUTS: dict[str, tuple[str, str, Callable[[Tensors], Mapping[str, object]]]] = {
    "trainer's pickle": ("512", "512.ckpt", lambda t: {"state_dict": t, "epoch": 3}),
    "flat pickle": ("512", "512-flat.pt", lambda t: {**t}),
    "DeepSpeed": (
        "512",
        "512-deepspeed.ckpt",
        lambda t: {"module": {DEEPSPEED_PREFIX + k: v for k, v in t.items()}, "dp_world_size": 8},
    ),
    "framestride_embed": (
        "256",
        "model.ckpt",
        lambda t: {
            "state_dict": {k.replace("fps_embedding", "framestride_embed"): v for k, v in t.items()}
        },
    ),
    "fp16, buffers too": ("512", "512-fp16.safetensors", in_precision(torch.float16)),
    "bf16, buffers too": ("512", "512-bf16.safetensors", in_precision(torch.bfloat16)),
    "fp8": ("512", "512-fp8.safetensors", in_precision(torch.float8_e4m3fn, buffers=False)),
    "pruned": (
        "512_interp",
        "512_interp-pruned.safetensors",
        keep(UNET_PREFIX, PROJECTOR_PREFIX, VAE_PREFIX),
    ),
    "U-Net and projector": (
        "1024",
        "unet-1024.safetensors",
        keep(UNET_PREFIX, PROJECTOR_PREFIX),
    ),
    "bare U-Net and projector": ("512", "unet-512-bare.safetensors", bare_unet),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_gives_the_numbers_of_its_weights(
    studio: Studio, graph: Graph, layout: str
) -> None:
    variant, name, change = LAYOUTS[layout]
    whole = bare(studio, variant)
    save(studio.checkpoints / name, change(load_file(studio.checkpoints / whole)))  # type: ignore[arg-type]
    complete = any("embedder." in key for key in read(studio.checkpoints / name))
    run = sample(studio, graph, variant, name, lender="" if complete else whole)
    assert error(run) < TOLERANCE


@pytest.mark.parametrize(
    ("weight_dtype", "dtype"),
    [
        ("fp16", torch.float16),
        ("bf16", torch.bfloat16),
        ("fp8_e4m3fn", torch.float8_e4m3fn),
        ("fp8_e5m2", torch.float8_e5m2),
    ],
)
def test_weight_dtype_rounds_the_matrices(
    studio: Studio, graph: Graph, weight_dtype: str, dtype: torch.dtype
) -> None:
    run = sample(studio, graph, "512", bare(studio, "512"), weight_dtype=weight_dtype)
    unrounded = run.expected()
    for parameter in run.reference.unet.parameters():
        if parameter.ndim > 1 or dtype.itemsize > 1:
            parameter.data = parameter.data.to(dtype).float()
    found = run.latent("latent")
    # Computing in 16 bits, where the host does so on this machine, adds its own rounding.
    assert relative_error(found, run.expected()) < 0.03
    assert relative_error(found, unrounded) > 1e-5


def test_a_saved_checkpoint_reads_back_with_its_variant(studio: Studio, graph: Graph) -> None:
    """CheckpointSave writes what our loader needs, under names that say nothing."""
    made = wire(studio, graph, "videocrafter1_i2v")
    graph.add(
        "CheckpointSave",
        model=made.model,
        clip=made.clip,
        vae=made.vae,
        filename_prefix="plain/saved",
    )
    studio.server.prompt(graph.prompt, timeout=PATIENCE)
    (saved,) = (studio.server.base / "output" / "plain").glob("saved*.safetensors")
    target = studio.checkpoints / "plain.safetensors"
    target.write_bytes(saved.read_bytes())
    original = read(studio.checkpoints / bare(studio, "videocrafter1_i2v"))
    again = load_file(target)
    # The host's save knows no image tower; two tensors and betas are used by nobody.
    unread = ("embedder.", "betas", "cond_stage_model.model.text_", "cond_stage_model.model.logit_")
    assert not {k for k in original.keys() - again.keys() if not k.startswith(unread)}
    graph = Graph()
    first = wire(studio, graph, "videocrafter1_i2v")
    latent = first.sample(steps=STEPS)
    second = Animation(studio, graph, target.name)
    first.model = second.model
    results = studio.run(
        graph,
        latent=latent,
        again=first.sample(steps=STEPS),
        text=graph.add("CLIPTextEncode", clip=first.clip, text="a red ball")[0],
        text_again=graph.add("CLIPTextEncode", clip=second.clip, text="a red ball")[0],
    )
    latent, latent_again = (results[k]["value.samples"] for k in ("latent", "again"))
    assert relative_error(latent_again, latent) < 1e-5
    text, text_again = (results[k]["value.0.0"] for k in ("text", "text_again"))
    assert relative_error(text_again, text) < 1e-5


FOREIGN: dict[str, tuple[dict[str, tuple[int, ...]], tuple[str, ...]]] = {
    "sdxl.safetensors": (
        {
            "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
            "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
        },
        ("sdxl.safetensors", "Stable Diffusion XL", "Load Checkpoint"),
    ),
    "vae.safetensors": (
        {"decoder.conv_in.weight": (512, 4, 3, 3)},
        ("vae.safetensors", "a VAE", "Load VAE"),
    ),
    "lora.safetensors": (
        {"lora_unet_input_blocks_1.lora_up.weight": (320, 4)},
        ("lora.safetensors", "LoRA", "Load LoRA"),
    ),
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_foreign_files_are_named_and_refused(studio: Studio, graph: Graph, name: str) -> None:
    shapes, fragments = FOREIGN[name]
    save_file({k: torch.zeros(s) for k, s in shapes.items()}, studio.checkpoints / name)
    message = load_error(studio, graph, name)
    assert all(fragment in message for fragment in fragments), message


def load_error(studio: Studio, graph: Graph, name: str, variant: str = "auto") -> str:
    loaded = graph.add(
        "DynamiCrafterCheckpointLoader", ckpt_name=name, variant=variant, weight_dtype="fp32"
    )
    return studio.error(graph, loaded[0])


def test_a_foreign_file_is_refused_by_its_header_alone(studio: Studio, graph: Graph) -> None:
    """The file's 40 GB are a hole that no test would survive reading."""
    path = studio.checkpoints / "wan.safetensors"
    size = 40 * 1024**3
    header = {"head.modulation": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    with bounded(studio):
        message = load_error(studio, graph, path.name)
    path.unlink()
    assert "Wan video" in message


class _Trainer:
    """Stands for the Python objects in a trainer's file."""


def damaged(studio: Studio, kind: str) -> str:
    whole = (studio.checkpoints / bare(studio, "512")).read_bytes()
    name = {"short": "short.safetensors", "page": "page.safetensors"}.get(kind, f"{kind}.ckpt")
    path = studio.checkpoints / name
    if kind == "short":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind in ("page", "text"):
        path.write_text("<!DOCTYPE html><html>Not found</html>")
    else:
        torch.save({"state_dict": {"a": torch.zeros(1)}, "trainer": _Trainer()}, path)
        if kind == "half":
            path.write_bytes(path.read_bytes()[:400])
    return path.name


@pytest.mark.parametrize(
    ("kind", "fragment"),
    [
        ("short", "download the file again"),
        ("page", "not a safetensors or PyTorch checkpoint"),
        ("text", "safetensors"),
        ("objects", "convert its state dict to safetensors"),
        ("half", "damaged"),
    ],
)
def test_damaged_files_are_named(studio: Studio, graph: Graph, kind: str, fragment: str) -> None:
    name = damaged(studio, kind)
    message = load_error(studio, graph, name)
    assert name in message
    assert fragment in message


def test_a_file_that_does_not_tell_its_variant_lists_the_choices(
    studio: Studio, graph: Graph
) -> None:
    tensors = load_file(studio.checkpoints / bare(studio, "1024"))
    save(studio.checkpoints / "mystery.safetensors", keep(UNET_PREFIX)(tensors))
    message = load_error(studio, graph, "mystery.safetensors")
    assert "mystery.safetensors" in message
    assert "viewcrafter_25" in message


def test_a_chosen_variant_must_fit(studio: Studio, graph: Graph) -> None:
    message = load_error(studio, graph, bare(studio, "512"), variant="videocrafter2")
    assert "8 input channels" in message
    assert "videocrafter2 has 4" in message


def said_of(studio: Studio, file: str) -> list[str]:
    """The server's log lines that name a file, after loading it."""
    load(studio, file)
    return [line for line in studio.server.log.splitlines() if file in line]


def test_a_part_that_a_file_lacks_gets_one_line(studio: Studio) -> None:
    def prune(tensors: Tensors) -> None:
        for key in [k for k in tensors if not k.startswith((UNET_PREFIX, PROJECTOR_PREFIX))]:
            del tensors[key]

    file = studio.small_checkpoint("512", name="-parts", edit=prune)
    lines = said_of(studio, file)
    for part, remedy in (("CLIP", "OpenCLIP"), ("VAE", "vae-ft-mse"), ("CLIP_VISION", "CLIP-ViT")):
        (line,) = (line for line in lines if f"has no {part}:" in line)
        assert remedy in line
    assert not any("projector" in line for line in lines)


def test_a_text_to_video_file_sends_nobody_to_look_for_an_image_encoder(studio: Studio) -> None:
    lines = said_of(studio, studio.small_checkpoint("videocrafter2", name="-parts"))
    for part in ("CLIP_VISION", "projector"):
        (line,) = (line for line in lines if f"has no {part}:" in line)
        assert line.endswith("this model attends to no image.")


def test_a_variant_by_the_files_name_is_a_warning(studio: Studio) -> None:
    file = "dynamicrafter-cil-512-bare.safetensors"
    whole = load_file(studio.checkpoints / bare(studio, "512"))
    save(studio.checkpoints / file, whole)
    (line,) = (line for line in said_of(studio, file) if "assumed" in line)
    assert f"assumed variant cil_512, by the file's name ({file})" in line
    assert "set `variant`" in line


def test_checkpoints_come_before_diffusion_models_and_no_name_twice(studio: Studio) -> None:
    """A file in both folders is read from the first."""
    both, other = "in-both.safetensors", "other-512.safetensors"
    second = studio.checkpoints.parent / "diffusion_models"
    second.mkdir(exist_ok=True)
    whole = load_file(studio.checkpoints / bare(studio, "512"))
    save(studio.checkpoints / both, whole)
    (second / both).write_text("no checkpoint")
    save(second / other, whole)
    info = studio.server.object_info()["DynamiCrafterCheckpointLoader"]
    kind, options = info["input"]["required"]["ckpt_name"][:2]
    names = options.get("options", kind)
    assert names.count(both) == 1
    assert names.index(both) < names.index(other)
    for name in (both, other):
        load(studio, name)
        (studio.checkpoints / name).unlink(missing_ok=True)
        (second / name).unlink(missing_ok=True)


class Memory:
    """Peaks of a process's memory while the context is open, above what it held before.

    anonymous: what the process has to itself. resident: with the pages of mapped files.
    """

    def __init__(self, pid: int):
        self._status = Path(f"/proc/{pid}/status")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._before = self._now()
        self.anonymous = self.resident = 0

    def _now(self) -> tuple[int, int]:
        lines = dict(
            line.split(":", 1) for line in self._status.read_text().splitlines() if ":" in line
        )
        return tuple(int(lines[key].split()[0]) * 1024 for key in ("RssAnon", "VmRSS"))  # type: ignore[return-value]

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            anonymous, resident = self._now()
            self.anonymous = max(self.anonymous, anonymous - self._before[0])
            self.resident = max(self.resident, resident - self._before[1])

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def enlarge(tensors: Tensors) -> None:
    """A U-Net of the published kind with 85 million parameters, which outweighs the other parts."""
    for key in [k for k in tensors if k.startswith(UNET_PREFIX)]:
        del tensors[key]
    arch = small_checkpoint.SMALL._replace(model_channels=256, head_dim=64)
    unet = small_checkpoint.DynamiCrafterUNet(arch).state_dict()
    tensors.update({UNET_PREFIX + key: tensor for key, tensor in unet.items()})


def load(studio: Studio, file: str) -> None:
    graph = Graph()
    loaded = graph.add(
        "DynamiCrafterCheckpointLoader", ckpt_name=file, variant="auto", weight_dtype="fp32"
    )
    graph.add("TestSave", value=loaded[0], name="unused")
    studio.server.prompt(graph.prompt, timeout=PATIENCE)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's process figures")
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_loaded_model_is_in_memory_once(studio: Studio, suffix: str) -> None:
    file = studio.small_checkpoint("512", name="-large", edit=enlarge)
    if suffix == ".ckpt":
        target = studio.checkpoints / "512-large.ckpt"
        torch.save({"state_dict": load_file(studio.checkpoints / file)}, target)
        file = target.name
    size = (studio.checkpoints / file).stat().st_size
    load(studio, bare(studio, "512"))  # what the server imports when first needed
    process = studio.server._process
    assert process is not None
    with Memory(process.pid) as memory:
        load(studio, file)
    assert size > 200 * 1024**2
    # Weights are copied off the file: mapped ones would take less (0.6), but a file that is written
    # over would change them or end the server (next test). The file's own pages, which the system
    # can drop, do not count.
    assert memory.anonymous < 1.1 * size


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_file_that_is_written_over_leaves_its_model_alone(
    studio: Studio, graph: Graph, suffix: str
) -> None:
    """As `cp` and `wget -O` do it: in place, cut first."""
    name = f"overwritten{suffix}"
    path, whole = studio.checkpoints / name, studio.checkpoints / studio.small_checkpoint("512")
    if suffix == ".ckpt":
        torch.save({"state_dict": load_file(whole)}, path)
    else:
        shutil.copyfile(whole, path)
    scene = Scene(studio, graph, checkpoint=name)
    before = runs(studio, graph, latent=scene.sample(steps=1, seed=1))["latent"]["value.samples"]
    path.write_bytes(b"")
    found = {seed: runs(studio, graph, latent=scene.sample(steps=1, seed=seed)) for seed in (2, 1)}
    assert torch.equal(found[1]["latent"]["value.samples"], before)
    path.unlink()
