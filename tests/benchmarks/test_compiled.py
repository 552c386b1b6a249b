"""What Inductor's kernels move, beside what is moved without a compiler."""

import os

import pytest

from benchmarks.counting import count_unet
from dc_model.variants import UNetArch

# One level of the real network, a fifth as wide: tracing takes its time by layers, not by width.
ARCH = UNetArch(
    model_channels=64, head_dim=16, context_dim=128, channel_mult=(1,), attention_levels=(True,)
)


@pytest.mark.slow
@pytest.mark.skipif(
    "COMPILE_TESTS" not in os.environ, reason="traces for half a minute; COMPILE_TESTS=1 runs it"
)
def test_fused_kernels_move_less_for_the_same_products() -> None:
    from benchmarks.compiled import count_compiled

    plain, compiled = count_unet(ARCH, (40, 64)), count_compiled(ARCH, (40, 64))
    assert compiled.limit == plain.limit
    assert 0.5 * plain.bytes < compiled.bytes < plain.bytes
    assert compiled.limit < compiled.seconds < plain.seconds
    assert sum(compiled.seconds_of.values()) == pytest.approx(compiled.seconds)
