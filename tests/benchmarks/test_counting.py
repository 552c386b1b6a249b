"""What a U-Net call must compute and move does not grow."""

from collections.abc import Callable

import pytest
import torch

from benchmarks.counting import CountCost, count_unet
from dc_model.variants import UNetArch

# The structure of the real network, a fifth as wide.
ARCH = UNetArch(model_channels=64, head_dim=16, context_dim=128)
SIZE = (40, 64)


def counted(run: Callable[[], None]) -> tuple[float, float, int]:
    with torch.device("meta"), torch.no_grad(), CountCost() as mode:
        run()
    return mode.cost.flops, mode.cost.bytes, mode.cost.operators


def test_a_product_reads_and_writes_its_tensors_once() -> None:
    def product() -> None:
        a, b = torch.empty(3, 5), torch.empty(5, 7)
        torch.mm(a, b)

    assert counted(product) == (2 * 3 * 5 * 7, 4 * (15 + 35 + 21), 1)


def test_views_are_free_and_an_expanded_tensor_is_read_once() -> None:
    def add() -> None:
        row = torch.empty(1, 5)
        torch.add(row.expand(3, 5).T.unsqueeze(0), torch.empty(5, 3))

    assert counted(add) == (0, 4 * (5 + 15 + 15), 1)


def test_least_time_is_the_longer_of_computing_and_moving() -> None:
    with torch.device("meta"), torch.no_grad(), CountCost() as mode:
        torch.mm(torch.empty(8192, 8192), torch.empty(8192, 8192))
    product = mode.cost
    assert product.seconds == product.limit == pytest.approx(2 * 8192**3 / 790e12)
    with torch.device("meta"), torch.no_grad(), CountCost() as mode:
        torch.add(torch.empty(8192), 1)
    assert mode.cost.limit == 0
    assert mode.cost.seconds == pytest.approx(2 * 4 * 8192 / 4.3e12)


def test_a_call_neither_computes_nor_moves_more_than_it_did() -> None:
    """Lower these when the network improves; a rise needs a reason."""
    cost = count_unet(ARCH, SIZE)
    assert cost.operators <= 1479
    assert cost.flops <= 1.221e12
    assert cost.bytes <= 21.58e9


@pytest.mark.parametrize("videos", [1, 2])
def test_a_layer_is_one_product_not_one_for_each_pixel(videos: int) -> None:
    """PyTorch splits a linear layer whose rows are out of order."""
    assert "bmm" not in count_unet(ARCH, SIZE, videos=videos).bytes_of
