"""Branches of guidance that share their input: when they do, and that nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from host_sampling import FRAMES, load_least, prompt, sample
from pack.nodes.host import keys
from pack.nodes.host.branches import SharedInput

SHARED, REPEATED = [FRAMES], [2 * FRAMES]


@pytest.fixture(scope="module")
def loaded(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_least(golden, tmp_path_factory.mktemp("branches"))


def prompts(**negative: Any) -> list[Any]:
    """Two of one image, but for what `negative` says."""
    draw = torch.Generator().manual_seed(3)
    image: dict[str, Any] = {keys.CONCAT_LATENT: torch.randn(1, 4, 8, 8, generator=draw)}
    return [prompt(draw, **image), prompt(draw, **{**image, **negative})]


def run(model: Any, given: list[Any]) -> tuple[list[torch.Tensor], list[int]]:
    """What the network gives in one step, and how many frames its first layer saw in each call."""
    rows: list[int] = []
    outputs: list[torch.Tensor] = []
    network = model.model.diffusion_model
    hooks = [
        network.input_blocks[0][0].register_forward_pre_hook(
            lambda _, inputs: rows.append(len(inputs[0]))
        ),
        network.register_forward_hook(lambda _module, _inputs, out: outputs.append(out)),
    ]
    try:
        sample(model, *given, steps=1)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, rows


def with_patch(model: Any) -> None:
    model.set_model_attn1_patch(lambda q, k, v, _: (q, k, v))


def with_replacement(model: Any) -> None:
    def attend(q: Any, k: Any, v: Any, extra: Any) -> Any:
        from comfy.ldm.modules.attention import optimized_attention

        return optimized_attention(q, k, v, extra["n_heads"])

    model.set_model_attn1_replace(attend, "middle", 0)


def with_override(model: Any) -> None:
    options = model.model_options.setdefault("transformer_options", {})
    options["optimized_attention_override"] = lambda attend, *args, **kwargs: attend(
        *args, **kwargs
    )


def with_function(model: Any) -> None:
    model.set_model_unet_function_wrapper(
        lambda apply, given: apply(given["input"], given["timestep"], **given["c"])
    )


def with_wrapper(kind: str) -> Callable[[Any], None]:
    return lambda model: model.add_wrapper(kind, lambda executor, *a, **k: executor(*a, **k))


def test_branches_of_one_image_share_it(loaded: Any) -> None:
    assert run(loaded, prompts())[1] == SHARED


@pytest.mark.parametrize(
    "change",
    [
        with_patch,
        with_replacement,
        with_override,
        with_function,
        with_wrapper(WrappersMP.APPLY_MODEL),
        with_wrapper(WrappersMP.DIFFUSION_MODEL),
    ],
)
def test_what_may_tell_branches_apart_sees_them_all_and_the_same_comes_out(
    loaded: Any, change: Callable[[Any], None]
) -> None:
    (shared,), _ = run(loaded, prompts())
    model = loaded.clone()
    change(model)
    (found,), rows = run(model, prompts())
    assert rows == REPEATED
    torch.testing.assert_close(found, shared, atol=2e-5 * shared.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    "negative", [{keys.CONCAT_LATENT: torch.zeros(1, 4, 8, 8)}, {keys.SPEED: 3}]
)
def test_branches_of_other_inputs_do_not_share(loaded: Any, negative: dict[str, Any]) -> None:
    assert run(loaded, prompts(**negative))[1] == REPEATED


def test_an_image_of_equal_numbers_is_another_image(loaded: Any) -> None:
    """Comparing numbers would wait for the device."""
    given = prompts()
    given[1][0][1][keys.CONCAT_LATENT] = given[0][0][1][keys.CONCAT_LATENT].clone()
    assert run(loaded, given)[1] == REPEATED


def test_regions_of_a_video_do_not_share(loaded: Any) -> None:
    """Areas of one size lie in different places; the host gives the negative prompt both, too."""
    positive, negative = prompts()
    left, right = ([[text, {**values, "area": (8, 4, 0, x), "strength": 1.0}]]
                   for x in (0, 4) for text, values in positive)  # fmt: skip
    assert sorted(run(loaded, [left + right, negative])[1]) == [FRAMES, 4 * FRAMES]


def test_an_entry_alone_is_one_branch() -> None:
    image = torch.zeros(1)
    entry = SharedInput(image, 24).process_cond(batch_size=2, area=None)
    assert entry.concat([]) == 1
    assert entry.concat([SharedInput(image, 24), SharedInput(image, 24)]) == 3
    assert entry.concat([SharedInput(image, 24), SharedInput(image, 8)]) == 1
