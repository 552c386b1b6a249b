"""Camera: where a point of the picture goes, and what a frame does not know."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dc_model.motion.camera import MOVES, camera_path, move_camera, written_path

HEIGHT, WIDTH = 40, 60


def dot(x: float, y: float, radius: float = 2.0) -> Tensor:
    """A soft dot `[1, H, W]` on black."""
    across = (torch.arange(WIDTH) + 0.5 - x) ** 2
    down = (torch.arange(HEIGHT)[:, None] + 0.5 - y) ** 2
    return torch.exp(-(across + down) / (2 * radius**2))[None]


def middle_of(frame: Tensor) -> tuple[float, float]:
    """The middle of the bright place of `[1, H, W]`."""
    weight = (frame[0] - 0.2).clamp(min=0)
    x = (weight.sum(0) * (torch.arange(WIDTH) + 0.5)).sum() / weight.sum()
    y = (weight.sum(1) * (torch.arange(HEIGHT) + 0.5)).sum() / weight.sum()
    return float(x), float(y)


@pytest.mark.parametrize("move", MOVES)
def test_the_first_frame_and_a_still_camera_are_the_picture(move: str) -> None:
    picture = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    depth = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    video, masks = move_camera(picture, camera_path(move, 0.25, 3), depth)
    assert torch.equal(video[0], picture)
    assert bool((masks[0] == 1).all())
    still, _ = move_camera(picture, camera_path(move, 0.0, 2), depth)
    assert torch.equal(still, picture.expand(2, -1, -1, -1))


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        # A camera that goes right sees everything go left.
        ("pan_left", (36 + 15, 22)),
        ("pan_right", (36 - 15, 22)),
        ("pan_up", (36, 22 + 10)),
        ("pan_down", (36, 22 - 10)),
        # From the middle (30, 20), by 2 ** 0.25.
        ("zoom_in", (30 + 6 * 1.189, 20 + 2 * 1.189)),
        ("zoom_out", (30 + 6 / 1.189, 20 + 2 / 1.189)),
        # Clockwise, by 22.5 degrees: the picture turns the other way.
        ("roll_right", (30 + 6 * 0.924 + 2 * 0.383, 20 - 6 * 0.383 + 2 * 0.924)),
        ("roll_left", (30 + 6 * 0.924 - 2 * 0.383, 20 + 6 * 0.383 + 2 * 0.924)),
    ],
)
def test_where_a_point_goes(move: str, expected: tuple[float, float]) -> None:
    video, _ = move_camera(dot(36, 22), camera_path(move, 0.25, 4))
    assert middle_of(video[-1]) == pytest.approx(expected, abs=0.3)


def texture(height: int = 128, width: int = 192) -> Tensor:
    """Soft noise `[1, H, W]` in [0, 1], whose flow can be measured everywhere."""
    noise = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        noise = F.avg_pool2d(F.pad(noise, (3,) * 4, mode="replicate"), 7, stride=1)
    return (noise[0] - noise.min()) / (noise.max() - noise.min())


def flow(before: Tensor, after: Tensor, side: int = 16) -> Tensor:
    """Optical flow of Lucas and Kanade: (x, y) of each square of `side` pixels, `[H', W', 2]`."""
    down, across = torch.gradient((before + after) / 2, dim=(0, 1))
    change = after - before

    def squares(values: Tensor) -> Tensor:
        return F.avg_pool2d(values[None, None].double(), side)[0, 0]

    xx, xy, yy = squares(across**2), squares(across * down), squares(down**2)
    x, y = -squares(across * change), -squares(down * change)
    determinant = xx * yy - xy**2
    return torch.stack([yy * x - xy * y, xx * y - xy * x], dim=-1) / determinant[..., None]


@pytest.mark.parametrize("move", [move for move in MOVES if not move.startswith("orbit")])
def test_the_flow_of_a_move_is_what_was_asked(move: str) -> None:
    """Within 5 %, over eight frames of a textured picture, where the picture is known."""
    picture, frames, amount, side = texture(), 9, 0.04, 16
    height, width = picture.shape[-2:]
    video, masks = move_camera(picture, camera_path(move, amount, frames))
    middles = torch.stack(
        torch.meshgrid(
            torch.arange(side / 2, width, side) - width / 2,
            torch.arange(side / 2, height, side) - height / 2,
            indexing="xy",
        ),
        dim=-1,
    )
    rate, degrees = 2 ** (amount / (frames - 1)), amount * 90 / (frames - 1)
    turn = torch.tensor([[0.0, -1], [1, 0]]) * degrees * math.pi / 180
    asked = {
        "pan_left": torch.tensor([amount * width / (frames - 1), 0]).expand_as(middles),
        "pan_up": torch.tensor([0, amount * height / (frames - 1)]).expand_as(middles),
        "zoom_in": middles * (rate - 1),
        "roll_left": middles @ turn.T,
    }
    opposites = {"pan_right": "pan_left", "pan_down": "pan_up", "roll_right": "roll_left"}
    opposites["zoom_out"] = "zoom_in"
    wanted = -asked[opposites[move]] if move in opposites else asked[move]
    for first, second, mask in zip(video, video[1:], masks[1:], strict=False):
        known = F.avg_pool2d(mask[None, None], side)[0, 0] == 1
        found = flow(first[0], second[0], side)[known].float()
        share = (found * wanted[known]).sum() / wanted[known].square().sum()
        assert float(share) == pytest.approx(1, abs=0.05)


def test_pans_are_even_in_time() -> None:
    video, _ = move_camera(dot(30, 20), camera_path("pan_right", 0.3, 4))
    assert [middle_of(f)[0] for f in video] == pytest.approx([30, 24, 18, 12], abs=0.3)


def test_near_things_go_against_an_orbit_and_far_ones_with_it() -> None:
    near = torch.zeros(HEIGHT, WIDTH)
    near[:, :30] = 1
    picture = dot(15, 20) + dot(48, 20)
    video, masks = move_camera(picture, camera_path("orbit_right", 0.2, 2), near)
    last = video[-1]
    assert middle_of(last * (torch.arange(WIDTH) < 30))[0] == pytest.approx(15 - 6, abs=0.5)
    assert middle_of(last * (torch.arange(WIDTH) >= 30))[0] == pytest.approx(48 + 6, abs=0.5)
    # Between them nothing was seen.
    assert bool((masks[-1][:, 26:34] == 0).all())
    assert bool((masks[-1][:, :23] == 1).all())


def test_what_is_near_covers_what_is_far() -> None:
    picture, near = torch.zeros(1, HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH)
    picture[:, :, 30:40] = 1
    near[:, 30:40] = 1
    video, _ = move_camera(picture, camera_path("orbit_right", 0.2, 2), near)
    assert bool((video[-1][0, :, 25:33] == 1).all())


def test_unknown_places_are_filled_and_not_in_the_mask() -> None:
    picture = torch.full((3, HEIGHT, WIDTH), 0.4)
    video, masks = move_camera(picture, camera_path("pan_right", 0.5, 2))
    torch.testing.assert_close(video[-1], picture)
    assert bool((masks[-1][:, :29] == 1).all())
    assert bool((masks[-1][:, 31:] == 0).all())
    gone, nothing = move_camera(picture, camera_path("pan_right", 2.0, 2))
    torch.testing.assert_close(gone[-1], picture)
    assert float(nothing[-1].sum()) == 0


def test_an_orbit_that_leaves_the_picture_knows_nothing() -> None:
    picture = torch.full((3, HEIGHT, WIDTH), 0.4)
    cameras = camera_path("orbit_left", 2.0, 2)
    video, masks = move_camera(picture, cameras, torch.ones(HEIGHT, WIDTH))
    torch.testing.assert_close(video[-1], picture)
    assert float(masks[-1].sum()) == 0


def test_a_written_path_says_each_frame() -> None:
    found = written_path("1: 0.1, 0, 1.5; 2: 0.2, 0.1, 2, 10, 0.3", 4)
    assert found[0].tolist() == [0, 0, 1, 0, 0]
    assert found[2].tolist() == pytest.approx([0.2, 0.1, 2, 10, 0.3])
    assert torch.equal(found[3], found[2])


@pytest.mark.parametrize(
    ("cameras", "found"),
    [
        (torch.tensor([[0.0, 0, 0, 0, 0]]), "zooms by 0 to 0; choose 0.05 to 20"),
        (torch.tensor([[0.0, 0, 1, 0, 0.1]]), "An orbit needs a depth picture; connect"),
    ],
)
def test_cameras_that_cannot_be_are_refused(cameras: Tensor, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        move_camera(dot(3, 3), cameras)


def test_an_unknown_move_is_refused() -> None:
    with pytest.raises(ValueError, match="move is 'dolly'; choose one of pan_left"):
        camera_path("dolly", 0.1, 2)


def test_each_frame_can_be_stopped() -> None:
    seen: list[int] = []
    move_camera(dot(3, 3), camera_path("pan_left", 0.1, 3), on_frame=lambda: seen.append(1))
    assert len(seen) == 3
