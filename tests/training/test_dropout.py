import pytest
import torch
from torch import nn
from training_helpers import FRAMES, tiny_model

from training.dropout import SampleDropout, drop_by_sample, seed_dropout


def layer(place: int = 0, p: float = 0.3) -> SampleDropout:
    return SampleDropout(p, place).train()


def masked(dropout: SampleDropout, rows: int, seeds: tuple[int, ...]) -> torch.Tensor:
    dropout.seeds = seeds
    return dropout(torch.ones(rows, 400))


def test_share_and_scale():
    out = masked(layer(), 100, (7,))
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert out[out != 0].unique().tolist() == pytest.approx([1 / 0.7])


def test_a_mask_follows_its_sample():
    together = masked(layer(), 6, (1, 2, 3))
    alone = masked(layer(), 2, (2,))
    assert torch.equal(together[2:4], alone)
    assert torch.equal(masked(layer(), 6, (1, 2, 3)), together)
    assert not torch.equal(together[:2], together[2:4])
    assert not torch.equal(masked(layer(place=1), 2, (2,)), alone)


def test_without_seeds_or_in_use_it_is_pytorchs_own():
    dropout = layer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = dropout(torch.ones(50))
        torch.manual_seed(0)
        assert torch.equal(found, nn.functional.dropout(torch.ones(50), 0.3))
    dropout.seeds = (1,)
    assert torch.equal(dropout.eval()(torch.ones(1, 50)), torch.ones(1, 50))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_samples_prediction_and_gradient_do_not_depend_on_its_batch(checkpointing: bool):
    model = tiny_model().double().train()
    drop_by_sample(model)
    places = [m.place for m in model.modules() if isinstance(m, SampleDropout)]
    assert len(places) > 10 and sorted(places) == list(range(len(places)))
    model.unet.gradient_checkpointing = checkpointing
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(2, *shape, generator=generator, dtype=torch.float64)

    inputs = [draw(4, FRAMES, 4, 4), draw(4, FRAMES, 4, 4), torch.tensor([500, 20])]
    inputs += [draw(7, 16), draw(5, 8), torch.tensor([8.0, 4.0], dtype=torch.float64)]
    weight = model.unet.get_parameter("input_blocks.0.0.weight")
    outputs, gradients = [], []
    for rows, seeds in ((slice(0, 2), (1, 2)), (slice(1, 2), (2,))):
        out = model(*(value[rows] for value in inputs), dropout_seeds=seeds)
        outputs.append(out[-1])
        (gradient,) = torch.autograd.grad(out[-1].square().sum(), weight)
        gradients.append(gradient)
    torch.testing.assert_close(*outputs, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(*gradients, atol=1e-8, rtol=1e-8)
    seed_dropout(model, (1, 3))
    other = model(*inputs, dropout_seeds=(1, 3))
    assert not torch.allclose(other[1], outputs[0])
