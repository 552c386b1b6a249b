"""The demo: what it says when something is wrong, and whole runs on the real server."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import demo
import pytest
from PIL import Image

QUICK = ("--steps", "1")
# Seconds that a run may take on a busy machine; on an idle one it takes 20.
PATIENCE = 900.0
VOCABULARY = "training/vocabulary.json"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty cache, so a run that wanted to install something would show."""
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "COMFYUI_PATH": ""}


def run(root: Path, environment: dict[str, str], *flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(root / "scripts" / "demo.py"), *flags],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--nonsense"], 2, "Unrecognized arguments: --nonsense; see --help."),
        (["--steps", "many"], 2, "Argument --steps: invalid whole number value: 'many'"),
        (["--steps", "0"], 2, "Argument --steps: 0 is less than 1"),
        (["--image", "none.png"], 1, "--image: there is no file none.png"),
        (["--end-image", "none.png"], 1, "--end-image: there is no file none.png"),
        (["--checkpoint", "none.ckpt"], 1, "--checkpoint: there is no file none.ckpt"),
        (["--checkpoint", __file__], 1, "is not a checkpoint file; expected a name that ends in"),
        (["--width", "100"], 1, "--width: 100 is not a multiple of 8; take 96."),
        (["--workflow", "none"], 1, "there is no workflow 'none'; choose one of animate, "),
        (["--output", __file__], 1, "is a file; give a folder."),
        (["--output", f"{__file__}/below/it"], 1, "test_demo.py is a file; give a folder."),
        (["--comfyui", "none"], 1, "none is not a ComfyUI"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_installed(
    root: Path,
    tmp_path: Path,
    environment: dict[str, str],
    flags: list[str],
    status: int,
    message: str,
):
    result = run(root, environment, *flags)
    assert result.returncode == status
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
    assert not (tmp_path / "cache").exists()


def test_too_little_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def fail(_: object) -> None:
        raise demo.SetupError("There is too little disk.")

    monkeypatch.setattr(demo, "find_host", fail)
    monkeypatch.setattr(demo, "stop_on_signals", lambda: None)
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    assert demo.main() == 1
    assert capsys.readouterr().err == "There is too little disk.\n"


def test_nohup_stays_in_force(monkeypatch: pytest.MonkeyPatch):
    set_to = {}
    monkeypatch.setattr(demo.signal, "getsignal", lambda _: signal.SIG_IGN)
    monkeypatch.setattr(demo.signal, "signal", set_to.__setitem__)
    demo.stop_on_signals()
    assert set_to == {}


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif("COMFYUI_PATH" not in os.environ, reason="COMFYUI_PATH is not set")
class TestRun:
    @pytest.fixture
    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def test_animates_the_example(self, root: Path, tmp_path: Path, environment: dict[str, str]):
        output = tmp_path / "new" / "output"
        result = run(root, environment, *QUICK, "--output", str(output))
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert "a tiny model that knows 64 x 64 pictures" in result.stdout
        words = "a large red circle moves left on a plain background"
        assert f'No --prompt: the words are "{words}".' in lines
        assert any("[##########] 1/1" in line for line in lines)
        names = [f"animate-0001.{suffix}" for suffix in ("mp4", "webp", "png")]
        assert lines[-3:] == [str(output / name) for name in names]
        assert sorted(path.name for path in output.iterdir()) == sorted(names)
        with av.open(str(output / names[0])) as video:
            stream = video.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 64, 64)
            assert len(list(video.decode(stream))) == 16
        with Image.open(output / names[1]) as animation:
            assert getattr(animation, "n_frames", 1) == 16

    def test_a_broken_picture(self, root: Path, tmp_path: Path, environment: dict[str, str]):
        broken = tmp_path / "broken.png"
        broken.write_bytes((root / "assets" / "sailboat.png").read_bytes()[:5000])
        result = run(root, environment, "--image", str(broken), "--output", str(tmp_path / "out"))
        assert result.returncode == 1
        assert "broken.png is a broken picture file" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()

    def test_a_broken_checkpoint(self, root: Path, tmp_path: Path, environment: dict[str, str]):
        broken = tmp_path / "broken.safetensors"
        broken.write_text("no weights")
        flags = ("--checkpoint", str(broken), "--output", str(tmp_path / "out"))
        result = run(root, environment, *QUICK, *flags)
        assert result.returncode == 1
        assert result.stderr.startswith("DynamiCrafterCheckpointLoader (node 2): ")
        assert not (tmp_path / "out").exists()

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
    def test_stops_its_server_when_stopped(
        self, root: Path, tmp_path: Path, environment: dict[str, str]
    ):
        script = str(root / "scripts" / "demo.py")
        process = subprocess.Popen(
            [sys.executable, script, *QUICK, "--steps", "900", "--output", str(tmp_path / "out")],
            env={**environment, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_signals,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if "Dual-Attention Sampler" in line:
                break
        servers = [p for p in processes() if str(tmp_path) in p]
        assert len(servers) >= 1
        process.send_signal(signal.SIGHUP)
        _, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert error == "Stopped; nothing is left behind.\n"
        deadline = time.monotonic() + PATIENCE
        while any(str(tmp_path) in p for p in processes()):  # a killed process goes a moment later
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # PyTorch makes a folder of its own among the temporary files.
        assert [p.name for p in tmp_path.iterdir() if "torch" not in p.name] == []


def hear_signals() -> None:
    """What a shell's background jobs and `nohup` ignore, their children would ignore, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def processes() -> list[str]:
    """The command lines of the ComfyUI servers that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if " main.py " in line:
            found.append(line)
    return found
