from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dc_model.encoders.autoencoder import Autoencoder
from dc_model.encoders.clip import Towers
from research.small_world.train import chain
from research.small_world.train.preset import UNET, new_model
from training.stages import StageName

QUICK = {"run.steps": 1, "data.pool": 2, "run.batch_size": 1, "data.num_frames": 4}
# Half as wide, with attention on the inner level alone.
SMALL = UNET._replace(model_channels=32, attention_levels=(False, True))


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the stages and what is written do not hang on the model's size."""
    monkeypatch.setattr(chain, "new_model", partial(new_model, unet=SMALL))


def untrained_encoders(folder: Path) -> None:
    folder.mkdir()
    for name, module in {"vae": Autoencoder(), "towers": Towers()}.items():
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")


def test_chain_trains_exports_and_continues_from_its_export(tmp_path: Path):
    folder, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    untrained_encoders(folder)
    chain.train_video(folder, chain.DEFAULT_CONFIG, QUICK)
    exported = folder / "demo.safetensors"
    with safe_open(exported, "pt") as file:
        assert '"variant": "512"' in file.metadata()["dynamicrafter"]

    start = chain.unpack(exported, second)
    for name in ("vae", "towers"):
        before, after = (load_file(f / f"{name}.safetensors") for f in (folder, second))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k].half().float(), after[k]) for k in before)
    unet = load_file(exported)["model.diffusion_model.input_blocks.0.0.weight"]
    assert torch.equal(start.unet.state_dict()["input_blocks.0.0.weight"], unet.float())
    chain.train_video(second, chain.DEFAULT_CONFIG, QUICK, start=start)
    changed = load_file(second / "demo.safetensors")
    assert not torch.equal(changed["model.diffusion_model.input_blocks.0.0.weight"], unet)


def unet_of(state_folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(state_folder / "state.pt", weights_only=True)["model"]
    return {k: v for k, v in state.items() if k.startswith("unet.")}


def test_the_papers_stages_follow_one_another(tmp_path: Path):
    folder = tmp_path / "paper"
    untrained_encoders(folder)
    # The averaged weights are the last ones.
    quick = {**QUICK, "run.ema_decay": 1e-9, "optimizer.warmup_steps": 0, "optimizer.rate": 0.01}
    stages: tuple[StageName, ...] = ("text_to_video", "projector", "adapt")
    chain.train_stages(folder, chain.DEFAULT_CONFIG, quick, stages[:2])
    assert not (folder / "3_adapt").exists()
    chain.train_stages(folder, chain.DEFAULT_CONFIG, quick, stages)
    video, projector, adapted = (
        unet_of(folder / name) for name in ("1_text_to_video", "2_projector", "3_adapt")
    )
    image_stream = {k for k in video if ".to_k_ip." in k or ".to_v_ip." in k}
    temporal = "unet.input_blocks.3.2.transformer_blocks.0.attn1.to_q.weight"
    spatial = "unet.input_blocks.3.1.transformer_blocks.0.attn1.to_q.weight"
    changed = {k for k, v in video.items() if not torch.allclose(projector[k], v, atol=1e-7)}
    assert changed
    assert changed <= image_stream
    assert torch.equal(adapted[temporal], projector[temporal])
    assert not torch.equal(adapted[spatial], projector[spatial])


def test_a_stopped_stage_continues(tmp_path: Path):
    folder = tmp_path / "stopped"
    untrained_encoders(folder)
    slow = {**QUICK, "run.steps": 2, "run.time_limit": 1e-9}
    for _ in range(2):
        assert not (folder / "2_adapt").exists()
        chain.train_stages(folder, chain.DEFAULT_CONFIG, slow, ("text_to_video", "adapt"))
    assert (folder / "2_adapt").exists()
