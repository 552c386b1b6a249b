from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dc_model.metrics.features import ScriptedExtractor, extract, file_hash, i3d_input


class Moments(nn.Module):
    """`[N, 3, T, H, W]` to per-channel means: `[N, 3]`."""

    def forward(self, videos: Tensor) -> Tensor:
        return videos.mean(dim=[2, 3, 4])


class LikeI3D(nn.Module):
    """Takes what the published I3D file takes, and gives what it was handed."""

    def forward(
        self,
        x: Tensor,
        rescale: bool = True,
        resize: bool = True,
        return_features: bool = False,
    ) -> Tensor:
        flags = torch.tensor([float(rescale), float(resize), float(return_features)])
        first, last = x[:, :, 0].mean(dim=[1, 2, 3]), x[:, :, -1].mean(dim=[1, 2, 3])
        size = torch.full([len(x)], float(x.shape[3] * 1000 + x.shape[4]))
        return torch.cat([torch.stack([first, last, size], dim=1), flags.repeat(len(x), 1)], dim=1)


class SwitchesGradients(nn.Module):
    """Within, by `torch.no_grad`, and for whatever comes after."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, videos: Tensor) -> Tensor:
        with torch.no_grad():
            means = videos.mean(dim=[2, 3, 4])
        torch.set_grad_enabled(True)
        return means * self.weight


class NoForward(nn.Module):
    @torch.jit.export
    def features(self, videos: Tensor) -> Tensor:
        return videos.mean(dim=[2, 3, 4])


class Nothing(nn.Module):
    def forward(self, _videos: Tensor) -> None:
        return None


class Pair(nn.Module):
    def forward(self, videos: Tensor) -> tuple[Tensor, Tensor]:
        return videos.mean(dim=[2, 3, 4]), videos


class Broken(nn.Module):
    """Fails in the way that its `how` says."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how

    def forward(self, videos: Tensor) -> Tensor:
        if self.how == "infinite":
            return videos.mean(dim=[2, 3, 4]) / 0.0
        if self.how == "shape":
            return videos.mean(dim=[3, 4])
        if self.how == "complex":
            return videos.mean(dim=[2, 3, 4]).to(torch.complex64)
        if self.how == "integers":
            return videos.mean(dim=[2, 3, 4]).to(torch.int64)
        if self.how == "raises":
            raise ValueError("no such clip")
        return videos.reshape(-1, 7)


def saved(module: nn.Module, folder: Path) -> Path:
    path = folder / "extractor.pt"
    torch.jit.script(module).save(str(path))  # type: ignore[union-attr]
    return path


def test_i3d_input_has_the_published_range_layout_and_size():
    x = i3d_input(torch.rand(2, 10, 3, 20, 30))
    assert x.shape == (2, 3, 10, 224, 224)
    assert i3d_input(torch.zeros(1, 9, 3, 8, 8)).unique().tolist() == [-1.0]
    ones = i3d_input(torch.ones(1, 9, 3, 8, 8))
    torch.testing.assert_close(ones, torch.ones_like(ones))


def test_i3d_input_samples_without_antialias():
    # Half the size: pixel centres fall between two pixels of each axis, and weigh them alike.
    video = torch.rand(1, 1, 3, 448, 448, generator=torch.Generator().manual_seed(0))
    expected = F.avg_pool2d(video[0], 2) * 2 - 1
    torch.testing.assert_close(i3d_input(video)[0, :, 0], expected[0], atol=1e-5, rtol=0)
    # A quarter: the pixels further away are left out, as antialiasing would not.
    video = torch.rand(1, 1, 3, 896, 896, generator=torch.Generator().manual_seed(0))
    inner = video[0, 0, :, 1::4, 1::4] + video[0, 0, :, 2::4, 1::4]
    inner = inner + video[0, 0, :, 1::4, 2::4] + video[0, 0, :, 2::4, 2::4]
    torch.testing.assert_close(i3d_input(video)[0, :, 0], inner / 2 - 1, atol=1e-5, rtol=0)


def test_an_i3d_file_is_called_as_published(tmp_path: Path):
    videos = torch.full((2, 9, 3, 16, 24), 0.25)
    videos[:, -1] = 1.0
    found = ScriptedExtractor(saved(LikeI3D(), tmp_path), "i3d")(videos)
    row = [-0.5, 1.0, 224224.0, 0.0, 0.0, 1.0]
    torch.testing.assert_close(found, torch.tensor([row, row]))


def test_another_network_gets_the_frames_as_they_are(tmp_path: Path):
    videos = torch.rand(5, 4, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    extractor = ScriptedExtractor(saved(Moments(), tmp_path), "none")
    found = extract(extractor, videos, batch_size=2)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), videos.mean(dim=(1, 3, 4)))


def test_the_name_tells_the_file_apart(tmp_path: Path):
    path = saved(Moments(), tmp_path)
    name = ScriptedExtractor(path, "none").name
    assert name == f"extractor.pt (sha256 {file_hash(path)[:8]}; frames as they are, [0, 1])"
    assert "224 px bilinear" in ScriptedExtractor(saved(LikeI3D(), tmp_path), "i3d").name


def test_file_hash_is_sha256(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_hash(tmp_path / "abc").startswith("ba7816bf8f01cfea")


def test_short_clips_and_other_networks_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"takes \(videos\).*set preprocessing to none"):
        ScriptedExtractor(saved(Moments(), tmp_path), "i3d")
    extractor = ScriptedExtractor(saved(LikeI3D(), tmp_path), "i3d")
    with pytest.raises(ValueError, match="Clips have 8 frames; I3D needs at least 9"):
        extractor(torch.zeros(1, 8, 3, 16, 16))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("infinite", "features that are not finite"),
        ("shape", r"gives \[2, 3, 4\] for 2 clips; expected \[2, D\]"),
        ("fails", r"extractor\.pt fails on clips of shape \[2, 4, 3, 5, 5\] \(.*invalid"),
        ("raises", r"extractor\.pt fails on clips of shape .*no such clip.*; choose another"),
        ("complex", "features of type torch.complex64, expected floating"),
        ("integers", "features of type torch.int64, expected floating"),
    ],
)
def test_wrong_features_are_explained_in_one_sentence(how: str, message: str, tmp_path: Path):
    extractor = ScriptedExtractor(saved(Broken(how), tmp_path), "none")
    with pytest.raises(ValueError, match=message) as caught:
        extractor(torch.rand(2, 4, 3, 5, 5))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "message"),
    [(Nothing(), "gives NoneType for 2 clips"), (Pair(), "gives tuple for 2 clips")],
)
def test_anything_but_features_is_named(module: nn.Module, message: str, tmp_path: Path):
    extractor = ScriptedExtractor(saved(module, tmp_path), "none")
    with pytest.raises(ValueError, match=f"{message}.*choose a network"):
        extractor(torch.rand(2, 4, 3, 5, 5))


@pytest.mark.parametrize("preprocessing", ["i3d", "none"])
def test_a_network_that_cannot_be_called_is_named_before_it_runs(
    preprocessing: Literal["i3d", "none"], tmp_path: Path
):
    with pytest.raises(ValueError, match=r"extractor\.pt has no `forward`.*choose another network"):
        ScriptedExtractor(saved(NoForward(), tmp_path), preprocessing)


def test_a_network_may_switch_gradients_which_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "switches.pt"
    torch.jit.save(torch.jit.script(SwitchesGradients()), str(path))
    extractor = ScriptedExtractor(path, "none", "cpu")
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            assert not extractor(torch.rand(2, 4, 3, 8, 8)).requires_grad
            assert torch.is_grad_enabled() == enabled
