"""Systems as data: what each makes, and the one sentence where it cannot."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("av")

from evaluation.items import Item, ItemError
from evaluation.protocol import DataSet, Protocol
from evaluation.systems.base import SystemStopped
from evaluation.systems.videos import FolderSystem, StillSystem
from evaluation.systems.workflow import WorkflowSystem, read_workflow, saved_files
from evaluation.videos import write_video
from training.data.clip import Clip

PROTOCOL = Protocol(data=DataSet(kind="table", path="clips.csv"), clips=2, frames=4, size=(16, 16))


@pytest.fixture
def item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Item:
    monkeypatch.chdir(tmp_path)
    Path("clips.csv").write_text("path,caption\nvideos/boat.mp4,a boat\n")
    frames = torch.linspace(-1, 1, 4).view(4, 1, 1, 1).expand(4, 3, 16, 16)
    clip = Clip("videos/boat.mp4 3 1", frames, "a boat", "a boat", 8.0, 1)
    return Item(7, clip, 1, tmp_path / "00007.mp4")


def made(system: Any, item: Item) -> Tensor:
    with system.open("cpu", PROTOCOL) as maker:
        return maker(item)


def test_a_still_picture_is_the_first_frame(item: Item):
    frames = made(StillSystem(name="still", kind="still"), item)
    assert torch.equal(frames, item.clip.frames[:1].expand(4, 3, 16, 16))


def test_a_folder_is_read_by_number_or_by_the_videos_name(item: Item, tmp_path: Path):
    folder = FolderSystem(name="folder", kind="folder", path=str(tmp_path / "made"))
    with pytest.raises(SystemStopped, match="made is not a folder"):
        made(folder, item)
    (tmp_path / "made").mkdir()
    write_video(tmp_path / "made" / "other.mp4", torch.zeros(4, 3, 16, 16))
    with pytest.raises(ItemError, match="no video 00007 or boat"):
        made(folder, item)
    for name, level in (("boat", 0.5), ("00007", -0.5)):
        write_video(tmp_path / "made" / f"{name}.mp4", torch.full((4, 3, 16, 16), level))
        by = "name" if name == "boat" else "number"
        chosen = folder.model_copy(update={"by": by})
        assert float(made(chosen, item).mean()) == pytest.approx(level, abs=1 / 128)
        if name == "boat":
            assert torch.equal(made(folder, item), made(chosen, item))
    with pytest.raises(ItemError, match=r"has 00007\.mp4 .*source is videos/boat.*folder\.by to"):
        made(folder, item)
    (tmp_path / "made" / "boat.mp4").unlink()
    assert torch.equal(made(folder, item), made(chosen, item))


def of_source(item: Item, source: str, number: int = 7) -> Item:
    return replace(item, clip=replace(item.clip, key=f"{source} 3 1"), number=number)


def test_videos_of_one_name_are_told_apart_by_their_folders(item: Item, tmp_path: Path):
    folder = FolderSystem(name="folder", kind="folder", path=str(tmp_path / "made"))
    Path("clips.csv").write_text("path,caption\na/clip.mp4,a boat\nb/clip.mp4,a boat\n")
    for name, level in (("a", 0.5), ("b", -0.5)):
        (tmp_path / "made" / name).mkdir(parents=True)
        write_video(tmp_path / "made" / name / "clip.mp4", torch.full((4, 3, 16, 16), level))
        found = made(folder, of_source(item, f"{name}/clip.mp4"))
        assert float(found.mean()) == pytest.approx(level, abs=1 / 128)
    # Several of the clip's number are not meant.
    for name in ("a", "b"):
        (tmp_path / "made" / name / "00007.mp4").touch()
    assert torch.equal(made(folder, of_source(item, "b/clip.mp4")), found)
    # One video for two clips: it belongs to neither.
    (tmp_path / "made" / "a" / "clip.mp4").rename(tmp_path / "made" / "clip.mkv")
    (tmp_path / "made" / "b" / "clip.mp4").unlink()
    with pytest.raises(ItemError, match=r"a/clip\.mp4, b/clip\.mp4 share a name"):
        made(folder, of_source(item, "a/clip.mp4"))


def test_a_data_set_of_numbers_is_not_taken_for_clip_numbers(item: Item, tmp_path: Path):
    """Clip 0 is the data set's 00003: neither its 00000 nor, where it is missing, another's."""
    folder = FolderSystem(name="folder", kind="folder", path=str(tmp_path / "made"))
    (tmp_path / "made").mkdir()
    for name, level in (("00000", 0.5), ("00003", -0.5)):
        write_video(tmp_path / "made" / f"{name}.mp4", torch.full((4, 3, 16, 16), level))
    clip = of_source(item, "00003.mp4", 0)
    with pytest.raises(ItemError, match=r"set folder\.by to number or name"):
        made(folder, clip)
    for by, level in (("name", -0.5), ("number", 0.5)):
        found = made(folder.model_copy(update={"by": by}), clip)
        assert float(found.mean()) == pytest.approx(level, abs=1 / 128)
    (tmp_path / "made" / "00003.mp4").unlink()
    with pytest.raises(ItemError, match=r"set folder\.by to number or name"):
        made(folder, clip)


def test_broken_and_short_videos_are_named(item: Item, tmp_path: Path):
    folder = FolderSystem(name="folder", kind="folder", path=str(tmp_path))
    (tmp_path / "boat.mp4").write_bytes(b"no video")
    with pytest.raises(ItemError, match=r"boat\.mp4 gives no clip"):
        made(folder, item)
    write_video(tmp_path / "boat.mp4", torch.zeros(2, 3, 16, 16))
    with pytest.raises(ItemError, match="2 frames do not hold 4"):
        made(folder, item)


def test_workflow_files_that_are_none_are_named(item: Item, tmp_path: Path):
    system = WorkflowSystem(name="flow", kind="workflow", workflow=str(tmp_path / "gone.json"))
    with pytest.raises(
        SystemStopped, match=r"flow\.workflow is '.*gone\.json', which is not a file"
    ):
        made(system, item)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(SystemStopped, match="is not JSON"):
        read_workflow(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(SystemStopped, match="holds a list"):
        read_workflow(tmp_path / "a.json")


def test_a_server_that_is_not_there_is_named(item: Item, tmp_path: Path):
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
    graph["2"] = {"class_type": "ApiVideo", "inputs": {"prompt": "a boat"}}
    (tmp_path / "a.json").write_text(json.dumps(graph))
    system = WorkflowSystem(
        name="flow", kind="workflow", workflow=str(tmp_path / "a.json"), server="127.0.0.1:9"
    )
    with pytest.raises(SystemStopped, match="flow, clip 7: "):
        made(system, item)
    with pytest.raises(SystemStopped, match="write HOST:PORT"):
        made(system.model_copy(update={"server": "nowhere"}), item)


def test_saved_videos_come_before_pictures_and_previews_do_not_count():
    outputs = {
        "1": {"images": [{"filename": "p.png", "type": "temp"}]},
        "2": {"images": [{"filename": "a.png", "type": "output"}]},
        "3": {"images": [{"filename": "v.mp4", "type": "output"}], "animated": [True]},
    }
    assert [entry["filename"] for entry in saved_files(outputs)] == ["v.mp4"]
    del outputs["3"]
    assert [entry["filename"] for entry in saved_files(outputs)] == ["a.png"]
    assert saved_files({}) == []


def test_lambda_times_a_factor_is_the_gates_own_factor():
    """By the U-Net's own factors, one per spatial transformer."""
    pytest.importorskip("accelerate", reason="the training extra is not installed")
    from dc_model.unet.attention import DualCrossAttention
    from evaluation.systems.checkpoint import scale_image_attention
    from research.small_world.train.preset import new_model

    model = new_model(0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # A new model's last layers are zero, and so is its first prediction.
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    assert model.projector is not None
    gates = [m for m in model.modules() if isinstance(m, DualCrossAttention) and m.image_attention]
    noisy = torch.randn(1, 4, 2, 8, 8, generator=generator)
    text = torch.randn(1, 77, gates[0].to_k.in_features, generator=generator)
    assert model.projector is not None
    tokens = torch.randn(1, 257, model.projector.proj_in.in_features, generator=generator)
    given = (noisy, noisy, torch.tensor([500]), text, tokens, torch.tensor([8.0]))
    with torch.no_grad():
        plain = model(*given)
        model.image_strengths = (2.0,) * len(gates)
        expected = model(*given)
        model.image_strengths = None
        scale_image_attention(model, 2.0)
        found = model(*given)
    assert not torch.allclose(plain, expected, atol=1e-4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
