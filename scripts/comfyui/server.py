"""A real ComfyUI server as a child process: start it, run prompts on it, stop it.

    with ComfyServer(comfyui, packs=[pack_folder]) as server:
        name = server.upload_image(picture)
        outputs = server.prompt(api_prompt)

The server runs headless on a port of its own with no other custom nodes, in a base directory of its
own (or the one given), and dies with the `with` block, whatever ends it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .client import ComfyClient, ServerError

_HOST = "127.0.0.1"
# For servers that no page is opened on: they start in three quarters of the time.
NO_API_NODES = ("--disable-api-nodes",)
_HAS_GPU = """
import torch
accelerators = (getattr(torch, name, None) for name in ("cuda", "xpu"))
found = any(a is not None and a.is_available() for a in accelerators)
raise SystemExit(0 if found or torch.backends.mps.is_available() else 1)
"""


def has_gpu(python: str | Path) -> bool:
    """Whether the torch of that Python finds an accelerator that ComfyUI can use."""
    return subprocess.run([str(python), "-c", _HAS_GPU], capture_output=True).returncode == 0


class ComfyServer(ComfyClient):
    """One ComfyUI server process.

    comfyui: the folder with ComfyUI's `main.py`.
    base: where its models, input, output, user and custom_nodes folders lie; created when missing.
        None: a temporary folder that goes with the server.
    packs: custom node folders to load; no other is.
    python: the Python that runs it.
    extra_args: further arguments for `main.py`.
    cpu: whether to add `--cpu`; None asks torch whether there is anything better.
    environment: variables that the server gets beside ours.
    start_timeout: seconds until a server that does not answer counts as failed.

    Raises ServerError when it does not come up; the message holds the end of its log.
    """

    def __init__(
        self,
        comfyui: str | Path,
        base: str | Path | None = None,
        *,
        packs: Sequence[str | Path] = (),
        python: str | Path = sys.executable,
        extra_args: Sequence[str] = (),
        cpu: bool | None = None,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 600.0,
    ) -> None:
        super().__init__(_HOST, port=0)
        self.comfyui = Path(comfyui)
        self.python = str(python)
        self._base = Path(base) if base is not None else None
        self._packs = [Path(pack).resolve() for pack in packs]
        self._extra_args = list(extra_args)
        self._cpu = cpu
        self._environment = {"PYTHONUNBUFFERED": "1", **(environment or {})}
        self._start_timeout = start_timeout
        self._run_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> "ComfyServer":
        """Starts the server and returns when it answers."""
        if not (self.comfyui / "main.py").is_file():
            raise ServerError(
                f"{self.comfyui} has no main.py; name the folder that ComfyUI's main.py lies in"
            )
        try:
            # The folder's random name is on the command line, which /system_stats repeats: that
            # is how we know that the server that answers is our child.
            self._run_folder = Path(tempfile.mkdtemp(prefix="comfy-server-"))
            self._link_packs()
            if self._cpu is None:
                self._cpu = not has_gpu(self.python)
            for last_try in (False, False, True):
                if self._launch(raise_on_exit=last_try):
                    break
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the server and whatever it started; removes what was temporary."""
        try:
            if self._process is not None:
                _end(self._process)
        finally:
            self._process = None
            if self._run_folder is not None:
                shutil.rmtree(self._run_folder, ignore_errors=True)
            self._run_folder = None

    def __enter__(self) -> "ComfyServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def base(self) -> Path:
        """The base directory: `base / "models"`, `base / "input"`, `base / "output"`."""
        return self._base if self._base is not None else self._folder() / "base"

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the server printed."""
        return (self._folder() / "log.txt").read_text(errors="replace")

    # -- parts -----------------------------------------------------------------------------------

    def _folder(self) -> Path:
        if self._run_folder is None:
            raise ServerError("the server is not running")
        return self._run_folder

    def _link_packs(self) -> None:
        custom_nodes = self.base / "custom_nodes"
        custom_nodes.mkdir(parents=True, exist_ok=True)
        for name in ("input", "output", "models/checkpoints"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        for pack in self._packs:
            link = custom_nodes / pack.name
            if link.is_symlink():
                link.unlink()
            if link.exists():
                if link.resolve() == pack:
                    continue
                raise ServerError(f"{link} is in the way of the node pack {pack}; move it away")
            try:
                link.symlink_to(pack, target_is_directory=True)
            except OSError:  # Windows lets only some users make links.
                hidden = shutil.ignore_patterns(".*", "output", "__pycache__")
                shutil.copytree(pack, link, ignore=hidden)

    def _arguments(self) -> list[str]:
        arguments = [
            *("--listen", _HOST, "--port", str(self.port)),
            *("--base-directory", str(self.base), "--temp-directory", str(self._folder())),
            *("--database-url", "sqlite:///:memory:"),
            *("--disable-auto-launch", "--disable-api-nodes", "--disable-all-custom-nodes"),
            *(["--cpu"] if self._cpu else []),
            *self._extra_args,
        ]
        names = [pack.name for pack in self._packs]
        return arguments + (["--whitelist-custom-nodes", *names] if names else [])

    def _launch(self, *, raise_on_exit: bool) -> bool:
        """Starts the child and waits for its answer; False when it exits before it answers."""
        self.port = _free_port()
        arguments = self._arguments()
        with open(self._folder() / "log.txt", "wb") as log:
            self._process = subprocess.Popen(
                [self.python, "main.py", *arguments],
                cwd=self.comfyui,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                # Somebody else may have taken the port between our look and the child's bind.
                if not raise_on_exit and "address already in use" in self.log.lower():
                    return False
                self.check_alive()
            with contextlib.suppress(ServerError, OSError, ValueError):
                if self.system_stats()["system"]["argv"][1:] == arguments:
                    return True
            time.sleep(0.1)
        raise ServerError(
            f"ComfyUI did not answer within {self._start_timeout:.0f} s:\n{self._log_end()}"
        )

    def check_alive(self) -> None:
        if self._process is None:
            raise ServerError("the server is not running")
        code = self._process.poll()
        if code is not None:
            # The system's way to get memory back; nothing in the log shows it.
            cause = ", most often because memory ran out" if code == -9 else ""
            raise ServerError(f"ComfyUI ended with exit status {code}{cause}:\n{self._log_end()}")

    def _log_end(self, lines: int = 25) -> str:
        return "\n".join(self.log.splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and its group: asked first, killed after 5 seconds or on a second Ctrl-C."""

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)

    try:
        send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
    finally:
        send(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def link_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Puts the checkpoint where the server looks for it, without a copy where that can be."""
    target = folder / checkpoint.name
    for place in (os.symlink, os.link, shutil.copyfile):
        try:
            place(checkpoint.resolve(), target)
        except OSError as error:  # A file system without links, or links across two of them.
            problem = error
        else:
            return
    raise ServerError(f"The checkpoint {checkpoint} cannot be read: {problem}.")
