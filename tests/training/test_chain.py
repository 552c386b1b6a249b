from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from training.autoencoder import Autoencoder
from training.clip import Towers
from training.small_world import chain


def test_chain_trains_exports_and_goes_on_from_its_export(tmp_path: Path):
    folder, second = tmp_path / "first", tmp_path / "second"
    folder.mkdir()
    second.mkdir()
    for name, module in {"vae": Autoencoder(), "towers": Towers()}.items():
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    quick = {"run.steps": 1, "data.pool": 4, "run.batch_size": 2}
    chain.train_video(folder, chain.DEFAULT_CONFIG, quick)
    exported = folder / "demo.safetensors"
    assert exported.stat().st_size < 32e6
    with safe_open(exported, "pt") as file:
        assert '"variant": "512"' in file.metadata()["dynamicrafter"]

    start = chain.unpack(exported, second)
    for name in ("vae", "towers"):
        before, after = (load_file(f / f"{name}.safetensors") for f in (folder, second))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k].half().float(), after[k]) for k in before)
    unet = load_file(exported)["model.diffusion_model.input_blocks.0.0.weight"]
    assert torch.equal(start.unet.state_dict()["input_blocks.0.0.weight"], unet.float())
    chain.train_video(second, chain.DEFAULT_CONFIG, quick, start=start)
    changed = load_file(second / "demo.safetensors")
    assert not torch.equal(changed["model.diffusion_model.input_blocks.0.0.weight"], unet)
