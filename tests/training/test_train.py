"""The command: every shipped configuration runs, and every fault of its inputs is a sentence."""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from small_checkpoint import state_dict
from video_files import write_video

from dc_model.projection import ProjectionArch
from training import image_stream, saving, train
from training.config import ConfigError, load_config
from training.data.entries import Entry
from training.saving import require_space

SHORT = {
    "data.size": (64, 64),
    "data.frame_strides": (1, 2),
    "data.workers": 0,
    "run.steps": 1,
    "run.batch_size": 1,
    "run.accumulate": 1,
}


@pytest.fixture(scope="module")
def place(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the configurations name, small."""
    folder, lender = tmp_path_factory.mktemp("place"), golden / "pipeline" / "512_frames8.json"
    checkpoints = folder / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name, variant in (("dynamicrafter_512_v1", "512"), ("videocrafter2", "videocrafter2")):
        torch.save({"state_dict": state_dict(lender, variant)}, checkpoints / f"{name}.ckpt")
    (folder / "data").mkdir()
    for i in range(2):
        write_video(folder / "data" / f"{i}.mp4", 12)
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (96, 64), (200, 30, 30)).save(folder / "data" / "0.png")
    table = "path,caption\n0.mp4,a boat sails\n1.mp4,rain\n"
    (folder / "data" / "videos.csv").write_text(table)
    (folder / "data" / "pictures.csv").write_text("path,caption\n0.png,a red wall\n")
    return folder


CONFIGS = {  # in the order in which they build on one another
    "1_projector": "512",
    "2_adapt": "512",
    "3_joint": "512",
    "finetune_512": "512",
    "interpolate_512": "512_interp",
    "cil_512": "cil_512",
    "lora_512": "512",
    "videocrafter2": "videocrafter2",
    "videocrafter2_images": "videocrafter2",
}


def test_every_shipped_configuration_is_run_here(root: Path):
    shipped = {path.stem for path in (root / "training" / "configs").glob("*.yaml")}
    assert shipped == {*CONFIGS, "first_run"}


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configurations_run_once_their_paths_are_there(
    name: str, place: Path, root: Path, comfyui: Path, monkeypatch: pytest.MonkeyPatch
):
    """Made short beside that: fewer steps, pixels and frames, a small new query transformer."""
    monkeypatch.chdir(place)
    small = partial(ProjectionArch, dim=64, depth=1, heads=1)
    monkeypatch.setattr(image_stream, "ProjectionArch", small)
    tokenizer = str(comfyui / "comfy" / "sd1_tokenizer")
    path = root / "training" / "configs" / f"{name}.yaml"
    frames = min(4, load_config(path).data.num_frames)
    changes = {**SHORT, "data.num_frames": frames, "model.tokenizer": tokenizer}
    config = load_config(path, changes)
    train.run(config)
    with safe_open(place / config.output / "model.safetensors", "pt") as file:
        assert CONFIGS[name] in file.metadata()["dynamicrafter"]


def test_the_first_run_needs_a_folder_of_videos_and_nothing_else(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "assets").symlink_to(root / "assets")
    (tmp_path / "videos").mkdir()
    for i in range(2):
        write_video(tmp_path / "videos" / f"{i}.mp4", 60)
    monkeypatch.chdir(tmp_path)
    config = load_config(root / "training" / "configs" / "first_run.yaml", {"run.steps": 1})
    train.run(config)
    assert (tmp_path / config.output / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("share", "motion", "warned"),
    [(0.5, "", True), (0.0, "", False), (0.5, "sails left", False)],
)
def test_a_set_without_motion_words_is_warned_of(
    share: float, motion: str, warned: bool, caplog: pytest.LogCaptureFixture
):
    entries = [Entry("0.mp4", "a boat sails left", str), Entry("1.mp4", "rain", str, motion)]
    train.warn_of_missing_words(share, entries)
    assert ("dynamic_wording" in caplog.text) == warned


CONFIG = """stage: full
output: out
model: {checkpoint: models/checkpoints/dynamicrafter_512_v1.ckpt}
data: {kind: folder, path: data, size: [64, 64], num_frames: 4, frame_strides: [1, 2]}
run: {steps: 1}
"""


def ended(place: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it ends with a fault."""
    sys.argv = ["train", "c.yaml", *arguments]
    with pytest.raises(SystemExit) as caught:
        train.main()
    assert caught.value.code == 1
    return capsys.readouterr().err


def no_video(folder: Path) -> None:
    for path in (folder / "data").glob("*.mp4"):
        path.write_bytes(b"no video")


def checkpoint_of(content: bytes) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / "models" / "checkpoints" / "dynamicrafter_512_v1.ckpt").write_bytes(content)

    return replace


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (lambda f: (f / "c.yaml").unlink(), [], "The configuration c.yaml cannot be read"),
        (lambda f: (f / "c.yaml").write_text("a: [1\nb: 2"), [], "c.yaml is not YAML: line 2"),
        (no_video, [], "None of 2 videos of data.path gives 4 frames"),
        (lambda f: shutil.rmtree(f / "data"), [], "data.path is 'data', which does not exist"),
        (lambda f: (f / "out").write_text(""), [], "output out cannot be written to"),
        (
            lambda f: (f / "cache").write_text(""),
            ["--set", "data.cache_folder=cache", "--set", "data.windows=1"],
            "data.cache_folder cache cannot be written to",
        ),
        (lambda _: None, ["--set", "output.x=3"], "output is a value, not a section"),
        (lambda _: None, ["--set", "model.variant=256"], "model.variant is 256, but"),
        (lambda _: None, ["--set", "data.size=[64, 72]"], "this model takes multiples of 16"),
        (lambda _: None, ["--time-limit", "-1"], "run.time_limit is -1.0"),
        (checkpoint_of(b""), [], "dynamicrafter_512_v1.ckpt: "),
        (checkpoint_of(b"\0\0\0\x20ftypisom" + bytes(900)), [], "dynamicrafter_512_v1.ckpt: "),
        (checkpoint_of(b"PK\x03\x04" + bytes(900)), [], "dynamicrafter_512_v1.ckpt: "),
    ],
)
def test_faults_are_sentences(
    spoil: Callable[[Path], object],
    arguments: list[str],
    message: str,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    folder = tmp_path / "copy"
    shutil.copytree(place, folder, ignore=shutil.ignore_patterns("runs"))
    (folder / "data" / "videos.csv").unlink()
    (folder / "c.yaml").write_text(CONFIG)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [])
    spoil(folder)
    assert message in ended(folder, capsys, *arguments)


def test_faults_met_by_a_worker_are_sentences_too(place: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copytree(place / "data", tmp_path / "data")
    (tmp_path / "c.yaml").write_text(CONFIG)
    changes = {"data.path": str(tmp_path / "data"), "data.workers": 1, "output": str(tmp_path)}
    config = load_config(tmp_path / "c.yaml", changes)
    trainer = train.make_trainer(config, train.make_accelerator(config))
    no_video(tmp_path)
    trainer.source._timelines.clear()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as caught:
        trainer.train()
    assert str(caught.value).startswith("None of 2 videos") and "Traceback" not in str(caught.value)


def test_a_full_disk_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    require_space(tmp_path / "not" / "yet" / "there", 1000)
    full = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: full)
    with pytest.raises(ConfigError, match=r"needs 5\.0 GB to save into and has 1\.0 GB free"):
        require_space(tmp_path, 5 * 10**9)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: full._replace(free=10))
    for save in (
        lambda: saving.save_state(tmp_path, {"model": {"a": torch.zeros(9)}}),
        lambda: saving.save_checkpoint(tmp_path / "a.safetensors", {"a": torch.zeros(9)}, {}),
    ):
        with pytest.raises(ConfigError, match="make room, or choose an output on another disk"):
            save()
    assert not any(tmp_path.iterdir())
