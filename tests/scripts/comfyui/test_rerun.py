import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
sys.path.append({scripts!r})
from comfyui.rerun import continue_under
print("began", flush=True)
continue_under(Path({python!r}))
import aiohttp, av, PIL
print(sys.argv, sys.path[0], __name__)
sys.exit(3)
"""


def run(root: Path, folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    script = folder / "a script.py"
    script.write_text(SCRIPT.format(scripts=str(root / "scripts"), python=sys.executable))
    command = [sys.executable, *flags, str(script), "--words", "a b"]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_bare_python_hands_over(root: Path, tmp_path: Path):
    result = run(root, tmp_path, "-S")  # without the packages of its environment
    shown = f"['{tmp_path / 'a script.py'}', '--words', 'a b'] {tmp_path} __main__"
    assert result.stdout.splitlines() == ["began", "began", shown], result.stderr
    assert result.returncode == 3


def test_a_python_that_has_all_goes_on(root: Path, tmp_path: Path):
    result = run(root, tmp_path)
    assert result.stdout.count("began") == 1, result.stderr
    assert result.returncode == 3
