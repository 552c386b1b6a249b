"""One entry of `VARIANTS` is all that a new relative needs."""

import pytest

from dc_model.checkpoint.detect import check_channels, detect_variant, read_metadata
from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.layout import refuse_foreign, shapes
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, Evidence

FIRST_CONV = "input_blocks.0.0.weight"
SHAPES = {FIRST_CONV: (320, 9, 3, 3), "fps_embedding.0.weight": (1280, 320)}


@pytest.fixture
def newcomer(monkeypatch: pytest.MonkeyPatch) -> str:
    """A relative with nine input channels and a speed of its own."""
    variant = VARIANTS["512"]._replace(
        in_channels=9,
        speed=12,
        interpolation_speed=7,
        init_variance=0.5,
        proves=lambda e: e.scale_is(0.5),
        name_hints=("newcomer",),
        built_like=None,
    )
    monkeypatch.setitem(VARIANTS, "newcomer_512", variant)
    return "newcomer_512"


def test_an_entry_s_file_is_not_foreign(newcomer: str, tiny_unet: DynamiCrafterUNet) -> None:
    header = shapes(tiny_unet.state_dict())
    width, _, *kernel = header[FIRST_CONV]
    refuse_foreign({**header, FIRST_CONV: (width, VARIANTS[newcomer].in_channels, *kernel)})


def test_an_entry_is_proven_by_its_file(newcomer: str) -> None:
    found = detect_variant(Evidence(SHAPES, base_scale=0.5), {}, "model.ckpt")
    assert (found.variant, found.assumption) == (newcomer, None)


def test_an_entry_is_found_by_its_file_s_name(newcomer: str) -> None:
    found = detect_variant(Evidence(SHAPES), {}, "Newcomer_512_pruned.safetensors")
    assert found.variant == newcomer


def test_an_entry_built_like_another_goes_by_name(
    newcomer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = VARIANTS[newcomer]._replace(name_hints=("twin",), built_like=newcomer)
    monkeypatch.setitem(VARIANTS, "twin_512", twin._replace(proves=lambda _: False))
    evidence = Evidence(SHAPES, base_scale=0.5)
    assert detect_variant(evidence, {}, "a_twin.ckpt").variant == "twin_512"
    found = detect_variant(evidence, {}, "model.ckpt")
    assert found.variant == newcomer
    assert "twin_512" in (found.assumption or "")


def test_an_entry_is_listed(newcomer: str) -> None:
    with pytest.raises(CheckpointError, match=newcomer):
        detect_variant(Evidence(SHAPES), {}, "model.ckpt")
    assert read_metadata({"dynamicrafter": f'{{"variant": "{newcomer}"}}'})


def test_an_entry_is_held_to_its_channels(newcomer: str) -> None:
    check_channels(newcomer, Evidence(SHAPES), "chosen")
    with pytest.raises(CheckpointError, match="8 input channels"):
        check_channels(newcomer, Evidence({FIRST_CONV: (320, 8, 3, 3)}), "chosen")


def test_an_entry_has_its_defaults(newcomer: str) -> None:
    modes = ("animate", "interpolate", "loop", "keyframes", "per frame")
    assert [VARIANTS[newcomer].default_speed(mode) for mode in modes] == [12, 7, 7, 7, 12]


@pytest.mark.parametrize("name", VARIANTS)
def test_look_alikes_share_inputs_and_schedule(name: str) -> None:
    """What `built_like` says: a name decides, so nothing but defaults may differ."""
    variant = VARIANTS[name]
    if variant.built_like is None:
        return
    model = VARIANTS[variant.built_like]
    assert model.built_like is None
    for fact in ("in_channels", "parameterization", "zero_terminal_snr", "base_scale", "spacing"):
        assert getattr(variant, fact) == getattr(model, fact)


def test_no_two_relatives_claim_a_name() -> None:
    hints = [hint for variant in VARIANTS.values() for hint in variant.name_hints]
    assert len(hints) == len(set(hints))
    assert all(hint == hint.lower() for hint in hints)


@pytest.mark.parametrize(
    ("name", "variance"),
    [("512", 0.8080), ("cil_512", 0.8080), ("1024", 0.3031), ("viewcrafter_25", 0.3031)],
)
def test_published_variances(name: str, variance: float) -> None:
    assert VARIANTS[name].init_variance == variance
