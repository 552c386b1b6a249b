"""Files that are written whole or not at all."""

import os
import platform
import re
import zlib
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary name beside `path`, then rename: readers see no partial file.

    The name is one that no other process uses and no search for `path`'s suffix finds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{_host()}.{os.getpid()}.part")
    try:
        # Safetensors' writer makes files that only their owner reads; ComfyUI may run as another.
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777
        write(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes of this computer left half written directly in `folder`.

    Call it before this process writes there: a file with its own number is of an earlier process,
    as in a container that was started again. Files of other computers stay, whose processes cannot
    be seen from here.
    """
    for path in folder.glob("*.part"):
        found = re.search(r"\.([0-9a-f]{8})\.([0-9]{1,9})\.part$", path.name)
        if found and found[1] == _host() and not _is_another_alive(int(found[2])):
            path.unlink(missing_ok=True)


def _host() -> str:
    """This computer's name, as eight digits: some files' names have little room."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _is_another_alive(process: int) -> bool:
    # On Windows the signal 0 is Ctrl-C.
    if process == os.getpid() or os.name == "nt":
        return process != os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is another user's.
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
