"""From the published layouts, with tensors that hold nothing and real schedules."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.inspect import FileContent
from dc_model.identify import identify
from dc_model.sampling.schedule import schedule_of
from dc_model.variants import VARIANTS

Content = Callable[..., FileContent]


@pytest.fixture
def content(load_manifest: Any) -> Content:
    def make(variant: str | None, **metadata: str) -> FileContent:
        """The 512 model's keys, with the schedule of this variant's file, or with none."""
        tensors: dict[str, Tensor] = {
            key: torch.empty(shape, device="meta")
            for key, shape in load_manifest("dynamicrafter_512").keys.items()
            if "." in key
        }
        if variant is not None:
            schedule = schedule_of(VARIANTS[variant])
            tensors["alphas_cumprod"] = schedule.alphas_cumprod.float()
            tensors["scale_arr"] = schedule.scale.float()
        return FileContent(tensors, metadata)

    return make


def test_the_files_own_schedule_counts_where_the_file_decides(content: Content):
    altered = content("512")
    altered.tensors["alphas_cumprod"] = altered.tensors["alphas_cumprod"] ** 0.98
    found = identify(altered, "auto", "dynamicrafter_512.ckpt")
    assert found.variant == "512"
    torch.testing.assert_close(
        found.schedule.alphas_cumprod.float(), altered.tensors["alphas_cumprod"], rtol=1e-5, atol=0
    )


def test_a_file_without_schedule_gets_the_variants(content: Content):
    found = identify(content(None), "512", "any.ckpt")
    own = schedule_of(VARIANTS["512"])
    assert torch.equal(found.schedule.scale, own.scale)
    assert found.notes == ()


def test_a_choice_replaces_a_schedule_that_differs_and_says_so(content: Content):
    found = identify(content("1024"), "512", "any.ckpt")
    assert found.variant == "512"
    assert torch.equal(found.schedule.scale, schedule_of(VARIANTS["512"]).scale)
    assert found.notes == (
        "the chosen variant's noise schedule replaces the file's, which differs.",
    )
    same = identify(content("512"), "512", "any.ckpt")
    assert same.notes == ()


def test_what_was_assumed_is_a_note(content: Content):
    found = identify(content("512"), "auto", "my_cil_512.ckpt")
    assert found.variant == "cil_512"
    (note,) = found.notes
    assert note.startswith("assumed variant cil_512, by the file's name")
    assert note.endswith("set `variant` if that is wrong.")


def test_metadata_states_variant_and_head_widths(content: Content):
    stated = '{"variant": "cil_512", "head_dim": {"unet": 32}}'
    found = identify(content(None, dynamicrafter=stated), "auto", "x.ckpt")
    assert (found.variant, found.heads.unet, found.notes) == ("cil_512", 32, ())


def test_a_variant_that_the_metadata_leaves_open_is_read_from_the_file(content: Content):
    stated = '{"variant": null, "head_dim": null}'
    assert identify(content("512", dynamicrafter=stated), "auto", "x.ckpt").variant == "512"


def test_a_choice_that_is_none_is_refused(content: Content):
    with pytest.raises(CheckpointError, match="variant is bogus; choose auto or one of 256, 512"):
        identify(content("512"), "bogus", "x.ckpt")


def test_a_schedule_that_cannot_be_is_refused(content: Content):
    broken = content("512")
    broken.tensors["alphas_cumprod"] = torch.full((1000,), 2.0)
    with pytest.raises(CheckpointError, match=r"cannot be used; download .* at least 0"):
        identify(broken, "auto", "dynamicrafter_512.ckpt")
