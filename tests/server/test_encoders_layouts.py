"""Real checkpoint layouts: the parts that the host's own classes load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server


def test_vae_and_towers_of_every_manifest(comfyui: Path, root: Path, golden: Path) -> None:
    """Nothing missing, nothing unexpected; U-Nets and projectors: `tests/dc_model`."""
    manifests = [
        path for path in sorted((golden / "manifests").glob("*.gz")) if "control" not in path.name
    ]
    assert len(manifests) == 9
    script = root / "tests" / "server" / "host_layouts.py"
    run = subprocess.run(
        [sys.executable, str(script), str(comfyui), str(root), *map(str, manifests)],
        capture_output=True,
        text=True,
        cwd=comfyui,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    results = json.loads(run.stdout.strip().splitlines()[-1])
    assert set(results) == {path.name for path in manifests}
    for name, parts in results.items():
        assert "text" in parts, name
        for part, difference in parts.items():
            assert difference == {"missing": [], "unexpected": []}, (name, part)
