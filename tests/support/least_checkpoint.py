"""The smallest checkpoint that samples, for nodes that touch every weight."""

from small_checkpoint import LEAST, Edit, state_dict
from studio import Studio
from torch import Tensor


def least_weights(studio: Studio, seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of it, by original key name."""
    case = studio.golden / "pipeline" / "512_frames8.json"
    return state_dict(case, "512", seed=seed, arch=LEAST)


def least_checkpoint(
    studio: Studio, seed: int = 0, *, name: str = "", edit: Edit | None = None
) -> str:
    """Its file's name, written on first use; an `edit` needs a `name`."""

    def shrink(tensors: dict[str, Tensor]) -> None:
        tensors.clear()
        tensors.update(least_weights(studio, seed))
        if edit is not None:
            edit(tensors)

    return studio.small_checkpoint(seed=seed, name=f"-least{name}", edit=shrink)
