"""Files that are written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary name beside `path`, then rename: readers see no partial file.

    The name is one that no other process uses and no search for `path`'s suffix finds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        # Safetensors' writer makes files that only their owner reads; ComfyUI may run as another.
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777
        write(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
