"""U-Nets of the family that are small enough to run in milliseconds."""

from typing import Any

from dc_model.variants import UNetArch

_SMALL = UNetArch(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_levels=(True, False),
    head_dim=16,
    context_dim=32,
)


def small_unet(**changes: Any) -> UNetArch:
    """A U-Net of two levels, the first of which attends, with `changes`."""
    return _SMALL._replace(**changes)
