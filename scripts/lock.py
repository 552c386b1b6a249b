"""Writes the hashes of every archive that the set-up installs; run it after a change of versions.

    python3 -m pip install uv
    python3 scripts/lock.py

`hashes.txt` holds what the pinned ComfyUI needs, `hashes-tests.txt` what the tests add, both for
every platform and Python that the project runs on.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from comfyui.cache import SetupError
from comfyui.setup import BARE_TOOLS, HASHES, SCRIPTS, TEST_HASHES, TOOLS, TORCH, pinned_comfyui

CONSTRAINTS = SCRIPTS / "constraints.txt"
OPTIONS = ("--quiet", "--universal", "--python-version=3.10", "--no-annotate", "--no-header")
# Addresses of this machine's own indexes stay out.
OPTIONS += ("--no-emit-index-url", "--no-emit-find-links")
HEAD = "# Made by scripts/lock.py.\n"


def compile_pins(lines: list[str], output: Path, *options: str | Path) -> None:
    """Resolves requirement lines; versions that `output` holds already stay.

    Raises subprocess.CalledProcessError.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write("\n".join(lines))
        file.flush()
        command = ["uv", "pip", "compile", file.name, "-o", output, "-c", CONSTRAINTS]
        subprocess.run([*map(str, command), *OPTIONS, *map(str, options)], check=True)


def main() -> int:
    """Returns 1 when uv or ComfyUI's list of requirements is missing."""
    try:
        requirements = pinned_comfyui() / "requirements.txt"
        needs = requirements.read_text(encoding="utf-8").splitlines()
        compile_pins([*TORCH, *needs], HASHES, "--generate-hashes")
        with tempfile.TemporaryDirectory() as work:
            tools = Path(work, "tools.txt")
            compile_pins(list(TOOLS), tools)
            pins = tools.read_text(encoding="utf-8").splitlines()
        compile_pins([*pins, *BARE_TOOLS], TEST_HASHES, "--generate-hashes", "--no-deps")
    except (SetupError, FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"{error}; `python3 -m pip install uv` installs uv.", file=sys.stderr)
        return 1
    for file in (HASHES, TEST_HASHES):
        file.write_text(HEAD + file.read_text(encoding="utf-8").removeprefix(HEAD))
    return 0


if __name__ == "__main__":
    sys.exit(main())
