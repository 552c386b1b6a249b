"""The life of the server process, with stand-ins for ComfyUI's main.py."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from comfyui.client import ServerError
from comfyui.server import ComfyServer, link_checkpoint

ANSWERS = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"system": {"argv": ARGV}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
GOOD = ANSWERS.replace("ARGV", "sys.argv")
# Seconds that a busy machine may take for what is done at once on an idle one.
PATIENCE = 120.0


@pytest.fixture
def comfyui(tmp_path: Path) -> Callable[[str], Path]:
    def make(main: str) -> Path:
        folder = tmp_path / "ComfyUI"
        folder.mkdir()
        (folder / "main.py").write_text(main)
        return folder

    return make


def ends(process_id: int) -> bool:
    """Whether a process is gone, now or after a while."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_starts_with_the_packs_alone(comfyui: Callable[[str], Path], tmp_path: Path):
    pack = tmp_path / "my-pack"
    pack.mkdir()
    folder = comfyui(GOOD)
    server = ComfyServer(folder, packs=[pack], extra_args=["--fp32-text-enc"], cpu=True)
    with server:
        arguments = server.system_stats()["system"]["argv"]
        base = server.base
        assert (base / "custom_nodes" / "my-pack").resolve() == pack
        assert (base / "models" / "checkpoints").is_dir()
        flags = ("--disable-all-custom-nodes", "--disable-api-nodes", "--cpu", "--fp32-text-enc")
        assert set(flags) <= set(arguments)
        assert arguments[-2:] == ["--whitelist-custom-nodes", "my-pack"]
        assert arguments[arguments.index("--base-directory") + 1] == str(base)
    assert not base.exists()
    assert pack.is_dir()
    with pytest.raises(ServerError, match="not running"):
        server.system_stats()


def test_a_base_of_ones_own_stays(comfyui: Callable[[str], Path], tmp_path: Path):
    base = tmp_path / "base"
    with ComfyServer(comfyui(GOOD), base, cpu=True) as server:
        assert server.base == base
        assert "--whitelist-custom-nodes" not in server.system_stats()["system"]["argv"]
    assert (base / "models" / "checkpoints").is_dir()


def test_a_folder_in_the_packs_place(comfyui: Callable[[str], Path], tmp_path: Path):
    (tmp_path / "base" / "custom_nodes" / "pack").mkdir(parents=True)
    (tmp_path / "pack").mkdir()
    with pytest.raises(ServerError, match="is in the way of the node pack"):
        ComfyServer(comfyui(GOOD), tmp_path / "base", packs=[tmp_path / "pack"], cpu=True).start()


def test_no_comfyui(tmp_path: Path):
    with pytest.raises(ServerError, match=r"has no main\.py"):
        ComfyServer(tmp_path).start()


def test_a_server_that_fails_shows_why(comfyui: Callable[[str], Path]):
    folder = comfyui("print('out of luck')\nraise SystemExit(3)")
    with pytest.raises(ServerError, match=r"(?s)exit status 3.*out of luck"):
        ComfyServer(folder, cpu=True).start()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_killed_server_names_the_likely_cause(comfyui: Callable[[str], Path]):
    folder = comfyui("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ServerError, match="exit status -9, most often because memory ran out:"):
        ComfyServer(folder, cpu=True).start()


def test_a_stranger_who_answers_is_not_our_server(comfyui: Callable[[str], Path]):
    # It gives up after its third answer, for none of which it was taken for ours.
    stranger = ANSWERS.replace("ARGV", "['main.py', '--port', '1']").replace(
        "        self.wfile.write(body)\n",
        "        self.wfile.write(body)\n        self.wfile.flush()\n"
        "        count.append(1)\n        import os\n        len(count) < 3 or os._exit(5)\n",
    )
    with pytest.raises(ServerError, match="exit status 5"):
        ComfyServer(comfyui("count = []\n" + stranger), cpu=True).start()


def test_a_server_that_never_answers(comfyui: Callable[[str], Path]):
    folder = comfyui("import time\ntime.sleep(600)")
    with pytest.raises(ServerError, match="did not answer within 0 s"):
        ComfyServer(folder, cpu=True, start_timeout=0).start()


def test_a_taken_port_is_tried_again(comfyui: Callable[[str], Path]):
    taken_once = (
        "import os, sys\nif not os.path.exists('tried'):\n    open('tried', 'w').close()\n"
        "    sys.exit('OSError: address already in use')\n"
    )
    with ComfyServer(comfyui(taken_once + GOOD), cpu=True) as server:
        assert server.system_stats()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_the_server_ends_with_its_children(comfyui: Callable[[str], Path]):
    family = (
        "import subprocess, sys, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('child', child.pid, flush=True)\n"
    )
    child = 0
    with pytest.raises(KeyboardInterrupt), ComfyServer(comfyui(family + GOOD), cpu=True) as server:
        child = int(server.log.split("child ")[1].split()[0])
        assert os.path.exists(f"/proc/{child}")
        raise KeyboardInterrupt
    assert ends(child)


def test_a_dead_server_is_noticed(comfyui: Callable[[str], Path]):
    mortal = GOOD + "\n"
    mortal = mortal.replace("self.send_response(200)", "self.send_response(200); self.count()")
    mortal = mortal.replace(
        "    def do_GET",
        "    def count(self):\n        if self.path == '/die':\n"
        "            import os; print('aargh', flush=True); os._exit(7)\n    def do_GET",
    )
    with ComfyServer(comfyui(mortal), cpu=True) as server:
        with pytest.raises(ServerError):
            server.get("/die")
        with pytest.raises(ServerError, match=r"(?s)exit status 7.*aargh"):
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                server.check_alive()
                time.sleep(0.05)


def test_a_checkpoint_is_linked_not_copied(tmp_path: Path):
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_text("weights")
    (tmp_path / "models").mkdir()
    link_checkpoint(checkpoint, tmp_path / "models")
    assert (tmp_path / "models" / "a.ckpt").samefile(checkpoint)
