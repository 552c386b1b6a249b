"""Across the readers of files: files out of a grammar are read, or refused in one sentence.

They are read in a process of their own, whose death is noticed; see `hostile_files`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest

ROOT = Path(__file__).parents[3]
SEEDS = 480
SHARES = 2
MOST_SECONDS, MOST_MEGABYTES = 30, 1000


@pytest.mark.parametrize("share", range(SHARES))
def test_any_file_is_read_or_refused(share: int, tmp_path: Path) -> None:
    first, last = (SEEDS * n // SHARES for n in (share, share + 1))
    paths = [str(ROOT), str(ROOT / "tests" / "support"), *filter(None, sys.path)]
    child = subprocess.run(
        [sys.executable, hostile_files.__file__, str(tmp_path), str(first), str(last)],
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
    assert [line["end"] for line in ends] == list(range(first, last))
    wrong = [
        line
        for line in ends
        if line["wrong"] or line["seconds"] > MOST_SECONDS or line["megabytes"] > MOST_MEGABYTES
    ]
    assert not wrong, wrong[:10]
