"""Across the readers of files: files out of a grammar are read, or refused in one sentence.

They are read in a process of their own, whose death is noticed; see `hostile_files`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import hostile_files

ROOT = Path(__file__).parents[3]
SEEDS = 480
MAX_SECONDS, MAX_MEGABYTES = 30, 1000


def test_any_file_is_read_or_refused(tmp_path: Path) -> None:
    paths = [str(ROOT), str(ROOT / "tests" / "support"), *filter(None, sys.path)]
    child = subprocess.run(
        [sys.executable, hostile_files.__file__, str(tmp_path), "0", str(SEEDS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, (
        f"{lines[-1:]} ended it by {child.returncode}: {child.stderr[-500:]}"
    )
    ends = [line for line in lines if "end" in line]
    assert [line["end"] for line in ends] == list(range(SEEDS))
    wrong = [
        line
        for line in ends
        if line["wrong"] or line["seconds"] > MAX_SECONDS or line["megabytes"] > MAX_MEGABYTES
    ]
    assert not wrong, wrong[:10]
