"""What fewer steps cost, on held-out scenes of the demo model's world.

`python -m research.small_world.steps --output runs/steps --scenes 8`

Samples each scene in every way that settings.py lists, from the same noise, on the real ComfyUI
server, and compares with 50 steps of DDIM at eta 0. `--only 25 10-ipndm` takes the settings whose
file name begins so, and what they are compared with. Called again it continues, so some settings
can have more scenes than others. `--report FILE.md` writes the table, into a page's marked place if
it has one. Any checkpoint of the family serves; one with random weights shows the solver's error
alone.
"""

import argparse
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from scripts.comfyui.server import ComfyServer, link_checkpoint
from scripts.comfyui.setup import PACK
from scripts.comfyui.timing import run_timed
from training.files import write_whole

from ..judge.pairs import Job, prompted
from ..judge.server import FRAMES, Host, fetch_frames, find_host, job_prompt
from ..judge.server import SETTINGS as DEMO
from . import table
from .settings import REFERENCE, SETTINGS, Setting, put

log = logging.getLogger(__name__)

CHECKPOINT = PACK / "assets" / "demo" / "small_world.safetensors"
LATENT = "latent"
_SKIPPED = re.compile(r"skipped (\d+)/\d+ steps")


def make_videos(
    jobs: Sequence[Job],
    settings: Sequence[Setting],
    checkpoint: Path,
    folder: Path,
    host: Host,
    cfg: float,
) -> None:
    """Make what `folder` lacks; an interrupted call leaves whole files only."""
    wanted = [
        (job, setting)
        for job in jobs
        for setting in settings
        if not table.clip_file(folder, setting, job).exists()
    ]
    if not wanted:
        return
    with ComfyServer(host.comfyui, packs=[PACK], python=host.python) as server:
        link_checkpoint(checkpoint, server.base / "models" / "checkpoints")
        info = server.object_info()
        for number, (job, setting) in enumerate(wanted, 1):
            if table.clip_file(folder, setting, job).exists():
                continue  # From another process on the same folder.
            prompt = job_prompt(job, checkpoint, server, info)
            key = put(prompt, setting, cfg, job.seed)
            clip = run(server, prompt, key, setting)
            _save(table.clip_file(folder, setting, job), clip)
            log.info(
                "%s, %d of %d: %d steps, %s: %.1f s",
                *(job.name, number, len(wanted), setting.steps, setting.name, clip["seconds"]),
            )


def run(
    server: ComfyServer, prompt: dict[str, Any], key: str, setting: Setting
) -> dict[str, np.ndarray]:
    """Video, latents, seconds of sampling and passes of the U-Net."""
    save = {"samples": [key, 0], "filename_prefix": LATENT}
    prompt[LATENT] = {"class_type": "SaveLatent", "inputs": save, "_meta": {"title": LATENT}}
    before = len(server.log)
    outputs, seconds = run_timed(server, prompt)
    skipped = _SKIPPED.findall(server.log[before:]) if setting.cache else []
    (saved,) = outputs[LATENT]["latents"]
    return {
        "video": fetch_frames(server, outputs[FRAMES]),
        "latent": load(server.view(**saved))["latent_tensor"].astype(np.float32),
        "seconds": np.array(seconds[key]),
        "passes": np.array(setting.passes - 2 * sum(map(int, skipped[-1:]))),
    }


def _save(path: Path, clip: Mapping[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = dict(clip)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_whole(path, write)


def chosen(beginnings: Iterable[str] | None) -> list[Setting]:
    """The settings whose file names begin so, and the reference; None: all."""
    if beginnings is None:
        return list(SETTINGS)
    names = tuple(beginnings)
    return [s for s in SETTINGS if s == REFERENCE or s.file_name.startswith(names)]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, default=CHECKPOINT)
    add("--output", type=Path, required=True, metavar="DIR", help="videos and results.json")
    add("--scenes", type=int, default=8)
    add("--only", nargs="+", metavar="NAME", help="settings to make; all are in the table")
    add("--cfg", type=float, default=DEMO["cfg"])
    add("--report", type=Path, metavar="FILE", help="write the table here as Markdown")
    add("--comfyui", type=Path, metavar="DIR", help="the ComfyUI to use")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    jobs, settings = prompted(options.scenes), chosen(options.only)
    host = find_host(options.comfyui)
    make_videos(jobs, settings, options.checkpoint, options.output, host, options.cfg)
    rows = table.rows(options.output, SETTINGS)
    (options.output / "results.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    text = table.markdown(rows)
    log.info("%s", text)
    if options.report:
        table.write(options.report, text)


if __name__ == "__main__":
    main()
