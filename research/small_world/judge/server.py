"""Makes the videos: the shipped workflows on the real ComfyUI server.

Each video is one prompt, the page's workflow with the demo's settings and the job's picture, words
and seed. Its saved video is exchanged for lossless frames, and the checkpoint's VAE turns the
pictures to latents and back beside it, by stock nodes, as the best that any video could show.
"""

import io
import json
import logging
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scripts.comfyui.server import NO_API_NODES, ComfyServer, link_checkpoint
from scripts.comfyui.setup import PACK, Host, find_host
from scripts.comfyui.workflow_api import to_api
from scripts.comfyui.workflow_settings import (
    LOADER,
    Prompt,
    pictures,
    set_all_words,
    set_end_image,
    set_image,
    set_value,
    set_words,
)
from scripts.embedded_examples import SETTINGS
from scripts.shipped.names import file_name
from training.files import write_whole

from .long_videos import captions, lengthen
from .pairs import LONG, Job

__all__ = [
    "FRAMES",
    "SETTINGS",
    "Host",
    "clip_file",
    "fetch_frames",
    "find_host",
    "job_prompt",
    "load_clip",
    "make_videos",
    "save_frames",
    "version_of",
]

log = logging.getLogger(__name__)

FRAMES, RECONSTRUCTED = "frames", "reconstructed"


def make_videos(
    jobs: Iterable[Job], checkpoint: Path, folder: Path, host: Host, steps: int | None = None
) -> None:
    """Make what `folder` lacks: `NAME.npz` with uint8 `video` `[T, H, W, 3]` and `reconstructed`.

    steps: None for the demo's own number. An interrupted call leaves whole files only.
    """
    wanted = list(jobs)
    if all(clip_file(folder, job).exists() for job in wanted):
        return
    with ComfyServer(
        host.comfyui, packs=[PACK], python=host.python, extra_args=NO_API_NODES
    ) as server:
        link_checkpoint(checkpoint, server.base / "models" / "checkpoints")
        info = server.object_info()
        for number, job in enumerate(wanted, 1):
            if clip_file(folder, job).exists():
                continue  # From an earlier start, or from another process on the same folder.
            prompt = job_prompt(job, checkpoint, server, info, steps)
            outputs = server.prompt(prompt)
            video, alone = (fetch_frames(server, outputs[k]) for k in (FRAMES, RECONSTRUCTED))
            _save(clip_file(folder, job), video, alone)
            log.info("%s, %d of %d: %s", job.name, number, len(wanted), job.scene.caption)


def job_prompt(
    job: Job,
    checkpoint: Path,
    server: ComfyServer,
    info: Mapping[str, Any],
    steps: int | None = None,
) -> Prompt:
    """The job's workflow as a prompt that saves lossless frames, its pictures uploaded."""
    prompt = to_api(_workflow(job), info)
    if job.workflow in LONG:
        lengthen(prompt, job.workflow)
    _set(prompt, job, checkpoint.name, _upload(server, job), steps)
    save_frames(prompt)
    return prompt


def clip_file(folder: Path, job: Job) -> Path:
    """Where a job's frames are kept."""
    return folder / f"{job.name}.npz"


def load_clip(folder: Path, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """A job's `video` and `reconstructed`, `[T, H, W, 3]` and `[K, H, W, 3]` in [0, 1]."""
    with np.load(clip_file(folder, job)) as arrays:
        return arrays["video"] / 255.0, arrays["reconstructed"] / 255.0


def version_of(host: Host) -> str:
    """The ComfyUI's own version number, or "unknown"."""
    file = host.comfyui / "comfyui_version.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    return found[1] if found else "unknown"


def _workflow(job: Job) -> dict[str, Any]:
    name = file_name(job.workflow.removesuffix("_image"))
    return json.loads((PACK / "workflows" / name).read_text(encoding="utf-8"))


def _upload(server: ComfyServer, job: Job) -> list[str]:
    with tempfile.TemporaryDirectory() as work:
        names = []
        for number, pixels in enumerate(job.pictures):
            path = Path(work, f"{job.name}-{number}.png")
            Image.fromarray(pixels).save(path)
            names.append(server.upload_image(path))
        return names


def _set(
    prompt: Prompt, job: Job, checkpoint: str, names: list[str], steps: int | None = None
) -> None:
    set_value(prompt, "checkpoint", checkpoint)
    own = {"seed": job.seed, "fps": job.scene.fps} | ({"steps": steps} if steps else {})
    for setting, value in {**SETTINGS, **own}.items():
        set_value(prompt, setting, value)
    if job.workflow in LONG:
        set_all_words(prompt, captions(job.scene))
    else:
        set_words(prompt, job.scene.caption)
    set_image(prompt, names[0])
    if len(names) > 1:
        set_end_image(prompt, names[1])


def save_frames(prompt: Prompt) -> None:
    """Exchange the saved video for its frames as PNG, and add the VAE's own reconstruction."""
    (video,) = (key for key, node in prompt.items() if node["class_type"] == "CreateVideo")
    (saver,) = (key for key, node in prompt.items() if node["class_type"] == "SaveVideo")
    (loader,) = (key for key, node in prompt.items() if node["class_type"] == LOADER)
    images = prompt[video]["inputs"]["images"]
    del prompt[video], prompt[saver]
    _add(prompt, FRAMES, "SaveImage", images=images, filename_prefix=FRAMES)
    batch: list[Any] | None = None
    for name in sorted(pictures(prompt)):
        key = next(k for k, n in prompt.items() if n["inputs"].get("image") == name)
        if batch is None:
            batch = [key, 0]
        else:
            _add(prompt, "both", "ImageBatch", image1=batch, image2=[key, 0])
            batch = ["both", 0]
    vae = [loader, 2]
    _add(prompt, "encoded", "VAEEncode", pixels=batch, vae=vae)
    _add(prompt, "decoded", "VAEDecode", samples=["encoded", 0], vae=vae)
    _add(prompt, RECONSTRUCTED, "SaveImage", images=["decoded", 0], filename_prefix=RECONSTRUCTED)


def _add(prompt: Prompt, key: str, node: str, **inputs: Any) -> None:
    prompt[key] = {"class_type": node, "inputs": inputs, "_meta": {"title": key}}


def fetch_frames(server: ComfyServer, output: Mapping[str, Any]) -> np.ndarray:
    """The images that a SaveImage node has saved, uint8 `[T, H, W, 3]`."""
    files = [server.view(**entry) for entry in output["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(f)).convert("RGB")) for f in files])


def _save(path: Path, video: np.ndarray, reconstructed: np.ndarray) -> None:
    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, video=video, reconstructed=reconstructed)

    write_whole(path, write)
