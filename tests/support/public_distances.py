"""Frechet and kernel distances by public packages, for `tests/golden/distances.json`.

    python -m pip install pytorch-fid clean-fid torchmetrics
    python tests/support/public_distances.py

The features are a formula, the same on every machine.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).parents[1] / "golden" / "distances.json"
PACKAGES = ("pytorch-fid", "clean-fid", "torchmetrics")


def features(which: float, clips: int = 200, width: int = 12) -> NDArray[np.float64]:
    """`[clips, width]`; another set for each `which`."""
    rows, columns = np.arange(clips)[:, None], np.arange(width)
    waves = 2 * np.sin(12.9898 * rows + 78.233 * columns + which)
    return waves + np.cos(rows * (columns + 1) * 0.37 * which)


def two_sets() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The true clips' and the made clips' features."""
    return features(1.0), features(2.0) * 1.3 + 0.2


def moments(x: NDArray[np.float64]) -> tuple[Any, Any]:
    return x.mean(0), np.cov(x, rowvar=False)


def main() -> None:
    import torch
    from cleanfid import fid as clean
    from pytorch_fid import fid_score
    from torchmetrics.image.fid import _compute_fid
    from torchmetrics.image.kid import poly_mmd

    real, made = two_sets()
    both = (*moments(real), *moments(made))
    tensors = [torch.from_numpy(np.asarray(part)) for part in both]
    pair = torch.from_numpy(real), torch.from_numpy(made)
    found = {
        "frechet": {
            "pytorch-fid": float(fid_score.calculate_frechet_distance(*both)),
            "clean-fid": float(clean.frechet_distance(*both)),
            "torchmetrics": float(_compute_fid(*tensors)),
        },
        "kernel": {
            "torchmetrics": float(poly_mmd(*pair, degree=3, gamma=None, coef=1.0)),
            # One subset of all clips.
            "clean-fid": float(clean.kernel_distance(real, made, num_subsets=1)),
        },
        "made_by": "python tests/support/public_distances.py",
        "versions": {name: version(name) for name in PACKAGES},
    }
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
