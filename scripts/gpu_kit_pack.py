"""Makes the GPU kit's folder: wheels, ComfyUI's source and this checkout, without large files."""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from comfyui.cache import SetupError, say
from comfyui.setup import HASHES, PACK, pinned_comfyui

MAX_BYTES = 64_000_000
PYTHON, ABI = "3.12", "cp312"
# What ComfyUI cannot start without and the machine lacks. Left out for their size: the page (21 MB;
# the server runs without) and kornia (7 MB; only nodes need it that nothing here uses).
BINARY = ("av", "blake3", "comfy-aimdo", "pydantic-core", "torchaudio", "torchvision")
# Of some there are compiled wheels, too: comfy-kitchen's is 45 MB, and does without its kernels.
PURE = (
    *("alembic", "mako", "sqlalchemy", "comfy-kitchen", "simpleeval", "spandrel"),
    *("pydantic", "pydantic-settings", "annotated-types", "typing-inspection", "python-dotenv"),
    *("torchsde", "trampoline", "requests", "urllib3", "certifi", "idna", "charset-normalizer"),
)
PLATFORMS = (
    *("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    *("manylinux_2_12_x86_64", "linux_x86_64"),
)
# Of the checkout: what no test on a GPU, no benchmark and no run reads.
LEFT_OUT = (
    *("assets/", "docs/", "research/", "evaluation/", "training/", "web/docs/", ".github/"),
    *("tests/research/", "tests/evaluation/", "tests/training/", "tests/dc_model/", "tests/nodes/"),
    *("locales/", "subgraphs/", "scripts/hashes"),
)
LEFT_OUT_SUFFIXES = (".jpg", ".webp", ".png")
GOLDEN = "tests/golden/"
# A file that says which commit the checkout is of.
COMMIT = "COMMIT"
KEPT_GOLDEN = ("tests/golden/manifests/", "tests/golden/pipeline/512_frames8.json")
# Of ComfyUI: its own tests, and graphs that only its page shows.
COMFYUI_LEFT_OUT = ("tests", "tests-unit", "blueprints", ".github")


def pack(folder: Path) -> str:
    """Fills a new folder; what it weighs. Raises SetupError, also when it is too heavy."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SetupError(f"{folder} is there already; name a new folder.")
    make_folder(folder)
    comfyui = pinned_comfyui()
    download_wheels(folder / "wheels")
    archive_comfyui(comfyui, folder / "comfyui.tar.xz")
    copy_checkout(folder / "checkout")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        raise SetupError(f"{folder} holds {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}.")
    return f"{folder}: {size / 1e6:.1f} MB"


def make_folder(folder: Path) -> None:
    """Raises SetupError where the folder cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SetupError(
            f"{folder} cannot be written to: {error.strerror}; name another folder."
        ) from error


def pins(names: Iterable[str]) -> list[str]:
    """The lines of `hashes.txt` for these packages on the kit's Python, with their hashes."""
    found = {}
    for block in re.split(r"\n(?=\S)", HASHES.read_text(encoding="utf-8")):
        name, _, version = block.split("\\")[0].partition(";")[0].strip().partition("==")
        marker = block.split("\\")[0].partition(";")[2]
        if name in names and "<" not in marker:
            found[name] = f"{name}=={version} \\" + block.partition("\\")[2]
    missing = set(names) - set(found)
    if missing:
        raise SetupError(f"scripts/hashes.txt lacks {', '.join(sorted(missing))}; add them.")
    return list(found.values())


def download_wheels(folder: Path) -> None:
    """Downloads the wheels by version and hash."""
    for names, tags in (
        (BINARY, ["--implementation=cp", *_options("abi", (ABI, "abi3", "none"))]),
        (PURE, ["--implementation=py", "--abi=none"]),
    ):
        platforms = _options("platform", PLATFORMS) if names is BINARY else ["--platform=any"]
        with tempfile.TemporaryDirectory() as work:
            file = Path(work, "pins.txt")
            file.write_text("\n".join(pins(names)), encoding="utf-8")
            say(f"Downloading {len(names)} wheels ...")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
            command += ["--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}"]
            result = subprocess.run(
                [*command, *tags, *platforms, "-d", str(folder), "-r", str(file)],
                capture_output=True,
                text=True,
            )
        if result.returncode:
            raise SetupError(f"pip could not fetch the wheels: {result.stderr.strip()[-400:]}")


def _options(name: str, values: Iterable[str]) -> list[str]:
    return [f"--{name}={value}" for value in values]


def archive_comfyui(comfyui: Path, archive: Path) -> None:
    """ComfyUI's source; a folder `comfyui` in the archive."""
    say("Packing ComfyUI ...")

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(member.name).parts
        dropped = "__pycache__" in parts or (len(parts) > 1 and parts[1] in COMFYUI_LEFT_OUT)
        return None if dropped else member

    with tarfile.open(archive, "w:xz", preset=9) as tar:
        tar.add(comfyui, arcname="comfyui", filter=wanted)


def copy_checkout(folder: Path) -> None:
    """The tracked files as they are, without what the kit does not read."""
    for name in filter(None, _git("ls-files", "-z", "-c", "-o", "--exclude-standard").split("\0")):
        if is_wanted(name) and (PACK / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PACK / name, target)
    (folder / COMMIT).write_text(_git("rev-parse", "HEAD"), encoding="utf-8")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        return subprocess.run(command, cwd=PACK, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"The kit is made from a git checkout: {error}.") from None


def is_wanted(name: str) -> bool:
    """Whether a file of the checkout comes along."""
    if name.startswith(GOLDEN):
        return name.startswith(KEPT_GOLDEN)
    return not name.startswith(LEFT_OUT) and not name.endswith(LEFT_OUT_SUFFIXES)
