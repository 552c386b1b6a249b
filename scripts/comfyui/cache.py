"""The user's cache folder, where what the scripts install lies whole or not at all.

A thing is built beside its place and moved there in one step, under a lock that a second run waits
for, so a break at any moment leaves nothing half-written in its place. Standard library only.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class SetupError(RuntimeError):
    """The set-up cannot continue; the message is one sentence for the user."""


def cache_folder() -> Path:
    """Where installed things lie; it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "dynamicrafter"


def whole_or_absent(
    name: str,
    build: Callable[[Path], None],
    needs_gigabytes: float,
    serves: Callable[[Path], bool] = Path.exists,
) -> Path:
    """`cache_folder() / name`, made by `build(empty folder)` when what is there does not serve.

    The folder appears only when `build` is done. One process builds, the others wait.
    Raises SetupError when the disk has too little room.
    """
    folder = cache_folder() / name
    if serves(folder):
        return folder
    with _lock():
        if serves(folder):
            return folder
        remove(folder)
        _remove_leftovers()
        _check_room(needs_gigabytes)
        building = Path(tempfile.mkdtemp(prefix="building-", dir=cache_folder()))
        try:
            build(building)
            building.replace(folder)
        except OSError as error:
            raise SetupError(f"{folder} could not be written: {error}.") from error
        finally:
            remove(building)
    return folder


def say(text: str) -> None:
    """Informs the user of progress."""
    print(text, flush=True)


def remove(folder: Path) -> None:
    """Deletes a folder; moved aside first, so a break leaves no half of it in its place."""
    if folder.exists():
        aside = folder.with_name(f"building-{os.getpid()}-{time.time_ns()}")
        folder.replace(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _check_room(gigabytes: float) -> None:
    free = shutil.disk_usage(cache_folder()).free / 1e9
    if free < gigabytes:
        raise SetupError(
            f"{cache_folder()} has {free:.1f} GB of free disk but {gigabytes:.1f} GB are needed; "
            "make room, or set XDG_CACHE_HOME to a folder on another disk."
        )


def _remove_leftovers() -> None:
    """Deletes what runs that were killed have left; only the holder of the lock may."""
    for leftover in cache_folder().glob("building-*"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Only one process at a time is inside; the system lets go of it when the process ends."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        file = open(cache_folder() / "lock", "a+b")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise SetupError(
            f"The cache folder {cache_folder()} cannot be written ({error.strerror}); set "
            "XDG_CACHE_HOME to a folder that can."
        ) from error
    with file:
        told = False
        while not _try_lock(file.fileno()):
            if not told:
                say("Another set-up is at work; waiting for it ...")
                told = True
            time.sleep(0.2)
        yield


if os.name == "nt":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            os.lseek(file, 0, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
