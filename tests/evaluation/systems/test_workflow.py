"""A workflow as a system on real servers, one of which dies."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from comfyui.server import NO_API_NODES, ComfyServer
from servers import pack_server

pytest.importorskip("accelerate", reason="the training extra is not installed")

from evaluation.__main__ import compare_systems
from evaluation.comparison import Comparison, read_comparison

pytestmark = [pytest.mark.server, pytest.mark.slow]

CLIPS, WEIGHTS = 2, "small_world.safetensors"


def comparison(table: Path, root: Path, server: ComfyServer) -> Comparison:
    """The stock KSampler's workflow as saved, and the still picture."""
    model = server.base / "models" / "checkpoints" / WEIGHTS
    if not model.exists():
        model.symlink_to(root / "assets" / "demo" / WEIGHTS)
    values = {"2.ckpt_name": WEIGHTS, "8.fps": 8, "9.steps": 2, "9.cfg": 1.0}
    flow = {
        **{"name": "flow", "kind": "workflow", "server": f"127.0.0.1:{server.port}"},
        "workflow": str(root / "workflows" / "DynamiCrafter - Stock KSampler.json"),
        "values": values,
    }
    protocol = {
        **{"data": {"kind": "table", "path": str(table)}, "clips": CLIPS, "frames": 16},
        **{"stride": 1, "size": [64, 64], "pic": "pixels"},
    }
    systems = [flow, {"name": "still", "kind": "still"}]
    return read_comparison({"protocol": protocol, "systems": systems, "strips": 1})


def kill_after(clip: Path, server: ComfyServer) -> threading.Thread:
    def kill() -> None:
        while not clip.exists():
            time.sleep(0.01)
        assert server._process is not None
        os.killpg(server._process.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_a_server_that_dies_loses_nothing(
    table: Path, root: Path, comfyui: Path, server: ComfyServer, tmp_path: Path
) -> None:
    """What was made stays, the rest comes from the next server."""
    run, first = tmp_path / "run", tmp_path / "run" / "clips" / "flow" / "00000.mp4"
    with pack_server(comfyui, root, tmp_path / "dying", *NO_API_NODES) as dying:
        given = comparison(table, root, dying)
        killer = kill_after(first, dying)
        compare_systems(given, run)
        killer.join()
    flow, still = json.loads((run / "results.json").read_text())["systems"]
    assert 1 <= flow["clips"] < CLIPS
    assert still["clips"] == CLIPS
    (sentence,) = flow["failures"]
    assert sentence.startswith("flow, clip ")
    assert "\n" not in sentence
    kept = first.read_bytes()
    compare_systems(comparison(table, root, server), run)
    assert first.read_bytes() == kept
    flow, _ = json.loads((run / "results.json").read_text())["systems"]
    assert (flow["clips"], flow["failures"]) == (CLIPS, [])
