"""What failures of files become: damage, a lack of memory, an unknown layout."""

import pytest
import torch
from torch import nn

from dc_model.checkpoint.errors import CheckpointError, fitting, readable

ALLOCATOR = (
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
)


@pytest.mark.parametrize("error", [RuntimeError(ALLOCATOR), MemoryError()])
def test_a_lack_of_memory_is_no_damage(error: Exception) -> None:
    with (
        pytest.raises(CheckpointError, match=r"too little memory to read it \(.+\): close other"),
        readable(),
    ):
        raise error
    with pytest.raises(type(error)), fitting("VAE"):
        raise error


def test_damage_is_said_to_be_damage() -> None:
    with pytest.raises(CheckpointError, match=r"It is damaged \(out of its bounds\)"), readable():
        raise RuntimeError("out of its bounds")


@pytest.mark.parametrize("key", ["memory.weight", "out of memory", "bank"])
def test_a_key_that_no_layer_has_is_named(key: str) -> None:
    """Whatever it is called."""
    layer = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=f"VAE has an unknown layout .*{key}"), fitting("VAE"):
        layer.load_state_dict({**layer.state_dict(), key: torch.zeros(1)})


def test_of_many_tensors_of_another_shape_one_is_named() -> None:
    wide = {f"{i}.{k}": v for i in range(3) for k, v in nn.Linear(4, 4).state_dict().items()}
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    with pytest.raises(CheckpointError) as refusal, fitting("U-Net"):
        network.load_state_dict(wide)
    assert str(refusal.value).count("copying a param") == 1
