"""Across load and stock nodes: LoRAs, merges and saved checkpoints are what we load."""

import shutil

import pytest
import torch
from graphs import Graph, Link
from safetensors import safe_open
from safetensors.torch import save_file
from scene import PROMPT, Scene
from small_checkpoint import UNET, state_dict
from studio import PATIENCE, Animation, Studio, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
TOLERANCE = 1e-4
RANK, ALPHA, STRENGTH = 4, 2.0, 0.8

# The U-Net's weights and the names that LoRA files give them.
SD21 = {
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k": (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    ),
    "input_blocks.1.1.proj_in": "lora_unet_down_blocks_0_attentions_0_proj_in",
    "middle_block.1.transformer_blocks.0.ff.net.0.proj": (
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj"
    ),
    "output_blocks.3.1.transformer_blocks.0.attn1.to_out.0": (
        "lora_unet_up_blocks_1_attentions_1_transformer_blocks_0_attn1_to_out_0"
    ),
}
NATIVE_NAMES = (
    *SD21,
    "input_blocks.1.1.transformer_blocks.0.attn2.to_v_ip",
    "middle_block.2.transformer_blocks.0.attn1.to_q",
    "time_embed.0",
)
NATIVE = {name: f"diffusion_model.{name}" for name in NATIVE_NAMES}


def factors(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(up, down) of a LoRA for one weight."""
    generator = torch.Generator().manual_seed(len(name))
    up = torch.randn(weight.shape[0], RANK, generator=generator)
    down = torch.randn(RANK, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
    return up, down


def merge_lora(names: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Add the LoRA's product to a checkpoint's weights."""
    for name in names:
        key = f"{UNET}{name}.weight"
        up, down = factors(name, tensors[key])
        tensors[key] += STRENGTH * ALPHA / RANK * (up @ down)


def write_lora(studio: Studio, names: dict[str, str], file: str) -> str:
    lora: dict[str, Tensor] = {}
    with safe_open(studio.checkpoints / studio.small_checkpoint(), "pt") as checkpoint:
        for name, key in names.items():
            up, down = factors(name, checkpoint.get_tensor(f"{UNET}{name}.weight"))
            style = (
                ("lora_up", "lora_down") if key.startswith("lora_unet") else ("lora_B", "lora_A")
            )
            lora[f"{key}.{style[0]}.weight"], lora[f"{key}.{style[1]}.weight"] = up, down
            lora[f"{key}.alpha"] = torch.tensor(ALPHA)
    folder = studio.server.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(lora, folder / file)
    return file


def with_lora(scene: Scene, file: str, strength: float) -> Link:
    return scene.graph.add(
        "LoraLoaderModelOnly", model=scene.model, lora_name=file, strength_model=strength
    )[0]


@pytest.mark.parametrize(("kind", "names"), [("sd21", SD21), ("native", NATIVE)])
def test_a_lora_equals_weights_that_hold_it(
    studio: Studio, graph: Graph, kind: str, names: dict[str, str]
) -> None:
    file = write_lora(studio, names, f"{kind}.safetensors")
    merged = studio.small_checkpoint(name=f"-{kind}", edit=lambda t: merge_lora(names, t))
    plain, off, on = (Scene(studio, graph) for _ in range(3))
    off.model, on.model = with_lora(off, file, 0.0), with_lora(on, file, STRENGTH)
    expected = Scene(studio, graph, checkpoint=merged)
    scenes = {"plain": plain, "off": off, "on": on, "expected": expected}
    found = studio.run(graph, **{k: s.stock(steps=2) for k, s in scenes.items()})
    samples = {name: result[SAMPLES] for name, result in found.items()}
    assert relative_error(samples["off"], samples["plain"]) < 1e-6
    assert relative_error(samples["on"], samples["expected"]) < TOLERANCE
    assert relative_error(samples["on"], samples["plain"]) > 1e-3


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_a_merge_equals_averaged_weights(studio: Studio, graph: Graph, ratio: float) -> None:
    other = state_dict(studio.golden / "pipeline" / "512_frames8.json", "512", seed=5)

    def average(tensors: dict[str, Tensor]) -> None:
        for key in tensors:
            if key.startswith(UNET):
                tensors[key].mul_(ratio).add_(other[key], alpha=1 - ratio)

    merged, expected = (
        Scene(studio, graph),
        Scene(studio, graph, checkpoint=studio.small_checkpoint(name=f"-{ratio}", edit=average)),
    )
    # The second file lends its U-Net only: encoders and VAE stay the first one's.
    second = Scene(studio, graph, checkpoint=studio.small_checkpoint(seed=5))
    merged.model = graph.add(
        "ModelMergeSimple", model1=merged.model, model2=second.model, ratio=ratio
    )[0]
    results = studio.run(graph, found=merged.stock(steps=2), expected=expected.stock(steps=2))
    assert relative_error(results["found"][SAMPLES], results["expected"][SAMPLES]) < TOLERANCE


def save(studio: Studio, scene: Scene, name: str, *, whole: bool = True) -> str:
    """Name of the checkpoint that a stock node saves of the scene's model."""
    parts = {"clip": scene.clip, "vae": scene.vae} if whole else {}
    prefix = f"checkpoints/{name}"
    node = "CheckpointSave" if whole else "ModelSave"
    scene.graph.add(node, model=scene.model, filename_prefix=prefix, **parts)
    studio.server.prompt(scene.graph.prompt, timeout=PATIENCE)
    file = f"{name}_00001_.safetensors"
    shutil.move(studio.server.base / "output" / "checkpoints" / file, studio.checkpoints / file)
    return file


def sample_and_decode(scene: Scene) -> dict[str, Link]:
    latent = scene.sample(steps=2, noise=scene.unit_noise(), image_only=scene.image_only)
    images = scene.graph.add("VAEDecode", vae=scene.vae, samples=latent)[0]
    return {
        "latent": latent,
        "images": images,
        "text": scene.graph.add("CLIPTextEncode", clip=scene.clip, text=PROMPT)[0],
    }


class Reloaded(Scene):
    """A scene from a saved file, which lacks the image tower."""

    def __init__(self, studio: Studio, graph: Graph, saved: str, variant: str, whole: bool):
        self.variant, self.whole = variant, whole
        super().__init__(studio, graph, checkpoint=saved)

    def text(self, positive: str, negative: str = "") -> "Reloaded":
        name = self.studio.small_checkpoint(self.variant)
        original = Animation(self.studio, self.graph, name)
        self.clip_vision = original.clip_vision
        if not self.whole:
            self.clip, self.vae = original.clip, original.vae
        super().text(positive, negative)
        return self


@pytest.mark.parametrize(
    ("variant", "whole"),
    [("512_interp", True), ("256", True), ("cil_1024", True), ("512_interp", False)],
)
def test_a_saved_checkpoint_is_the_same_model(studio: Studio, variant: str, whole: bool) -> None:
    name = f"saved-{variant}-{'whole' if whole else 'model'}"
    saved = save(studio, Scene(studio, Graph(), variant), name, whole=whole)
    with safe_open(studio.checkpoints / saved, "pt") as file:
        assert "dynamicrafter" not in (file.metadata() or {})
        keys = set(file.keys())
        marker = bytes(file.get_tensor("dynamicrafter_variant").tolist()).decode()
    assert marker == variant
    assert "image_proj_model.latents" in keys
    assert not any(key.startswith("embedder.") for key in keys)

    first, second = Graph(), Graph()
    original = Scene(studio, first, variant)
    reloaded = Reloaded(studio, second, saved, variant, whole)
    expected = studio.run(first, **sample_and_decode(original))
    found = studio.run(second, **sample_and_decode(reloaded))
    for output, path in (("latent", SAMPLES), ("images", "value"), ("text", "value.0.0")):
        assert relative_error(found[output][path], expected[output][path]) < 1e-6, output


def test_a_saved_merge_holds_the_merge_and_the_first_projector(studio: Studio) -> None:
    graph = Graph()
    scene = Scene(studio, graph)
    second = Scene(studio, graph, checkpoint=studio.small_checkpoint(seed=5))
    scene.model = graph.add("ModelMergeSimple", model1=scene.model, model2=second.model, ratio=0.5)[
        0
    ]
    saved = save(studio, scene, "saved-merge")
    key, latents = f"{UNET}out.2.weight", "image_proj_model.latents"
    files = (saved, studio.small_checkpoint(), studio.small_checkpoint(seed=5))
    tensors = []
    for name in files:
        with safe_open(studio.checkpoints / name, "pt") as file:
            tensors.append((file.get_tensor(key), file.get_tensor(latents)))
    (merged, projector), (one, one_projector), (two, _) = tensors
    torch.testing.assert_close(merged, (one + two) / 2, rtol=1e-5, atol=1e-6)
    assert torch.equal(projector, one_projector)


def test_a_saved_lora_is_in_the_weights(studio: Studio) -> None:
    file = write_lora(studio, NATIVE, "saved.safetensors")
    scene = Scene(studio, Graph())
    scene.model = with_lora(scene, file, STRENGTH)
    saved = save(studio, scene, "saved-lora", whole=False)
    expected = studio.small_checkpoint(name="-native", edit=lambda t: merge_lora(NATIVE, t))
    for name in NATIVE:
        key = f"{UNET}{name}.weight"
        with (
            safe_open(studio.checkpoints / saved, "pt") as found,
            safe_open(studio.checkpoints / expected, "pt") as merged,
        ):
            torch.testing.assert_close(found.get_tensor(key), merged.get_tensor(key))
