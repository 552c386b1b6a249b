import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from video_files import STEP, av, repeat, write_sound, write_video

from training.data import video
from training.data.video import (
    VIDEO_SUFFIXES,
    BrokenVideo,
    Cut,
    Timeline,
    draw_window,
    fit_clip,
    is_clip,
    read_cut,
    read_picture,
)


def cut(path: Path, first: int = 0, stride: int = 1, count: int = 8) -> Cut:
    return read_cut(lambda: str(path), lambda _: (first, stride), count)


def numbers(frames: Iterable[torch.Tensor]) -> list[float]:
    """Which frames these are, by their brightness."""
    return [float(frame.float().mean()) / STEP for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.ts", "libx264"),
        ("a.m2ts", "mpeg2video"),
        ("a.flv", "flv"),
        ("a.avi", "mpeg4"),
        # Time stamps in the order of the packets, which is not that of the frames.
        ("b.avi", "libx264"),
    ],
)
def test_the_frames_of_that_number_in_every_container(tmp_path: Path, name: str, codec: str):
    write_video(tmp_path / name, codec=codec, options={"g": "12"})
    found = cut(tmp_path / name, first=20, stride=3)
    assert numbers(found.frames) == pytest.approx(list(range(20, 44, 3)), abs=0.6)
    assert (found.first, found.stride, found.rate) == (20, 3, pytest.approx(24))


def corner(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """White where the top left is, black elsewhere."""
    del number
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = 255
    return pixels


def white_corner(frame: torch.Tensor) -> tuple[bool, bool]:
    """(is it below, is it right) of the white quarter of `[H, W, 3]`."""
    light = frame.float().mean(dim=2)
    height, width = light.shape
    return (
        bool(light[height // 2 :].mean() > light[: height // 2].mean()),
        bool(light[:, width // 2 :].mean() > light[:, : width // 2].mean()),
    )


@pytest.mark.parametrize(
    ("rotation", "shape", "where"),
    [
        (0, (32, 48), (False, False)),
        # A phone upright: the player turns the frame clockwise, the top left becomes top right.
        (-90, (48, 32), (False, True)),
        (90, (48, 32), (True, False)),
        (180, (32, 48), (True, True)),
    ],
)
def test_rotation_is_obeyed(
    tmp_path: Path, rotation: int, shape: tuple[int, int], where: tuple[bool, bool]
):
    write_video(tmp_path / "a.mp4", 8, picture=corner, rotation=rotation or None)
    frames = cut(tmp_path / "a.mp4", count=2).frames
    assert frames[0].shape[:2] == shape
    assert white_corner(frames[0]) == where


ONE = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "shape", "where"),
    [
        # a, b, c, d of a QuickTime track: x goes to a x + c y, y to b x + d y.
        ((-ONE, 0, 0, ONE), (32, 48), (False, True)),
        ((ONE, 0, 0, -ONE), (32, 48), (True, False)),
        ((0, ONE, ONE, 0), (48, 32), (False, False)),
        ((0, -ONE, -ONE, 0), (48, 32), (True, True)),
        ((0, ONE, -ONE, 0), (48, 32), (False, True)),
    ],
)
def test_mirrors_are_obeyed(
    tmp_path: Path,
    matrix: tuple[int, int, int, int],
    shape: tuple[int, int],
    where: tuple[bool, bool],
):
    """Also with a quarter turn, as front cameras note it; the white corner shows them apart."""
    path = tmp_path / "a.mp4"
    write_video(path, 8, picture=corner)
    a, b, c, d = matrix
    before = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    header, track, rest = path.read_bytes().partition(b"tkhd")
    after = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    assert before in rest
    path.write_bytes(header + track + rest.replace(before, after, 1))
    frames = cut(path, count=2).frames
    assert frames[0].shape[:2] == shape
    assert white_corner(frames[0]) == where


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path):
    write_video(tmp_path / "a.mp4", 8, pixel_aspect=Fraction(4, 3), rotation=-90)
    assert cut(tmp_path / "a.mp4", count=2).frames[0].shape[:2] == (64, 32)


def test_variable_frame_rates_are_read_by_time(tmp_path: Path):
    # Ten frames of a tenth of a second, then frames of a thirtieth: both halves take a second.
    slow, fast = 10, 30

    def at(number: int) -> int:
        return 9 * number if number < slow else 90 + 3 * (number - slow)

    write_video(tmp_path / "a.mkv", slow + fast, at=at)
    found = cut(tmp_path / "a.mkv", first=0, stride=2, count=20)
    times = [(n / 10 if n < slow else 1 + (n - slow) / 30) for n in numbers(found.frames)]
    # 20 moments, 0.1 s apart; what is on screen then began at most a frame's length before.
    moments = [(2 * i + 0.5) * (at(39) / 39) / 90 for i in range(20)]
    assert all(-0.02 < m - t < 0.12 for m, t in zip(moments, times, strict=True))
    assert found.rate == pytest.approx(40 / 2, rel=0.05)


def test_headers_that_count_frames_which_are_not_there(tmp_path: Path):
    # An AVI counts a frame for each tick of its clock.
    write_video(tmp_path / "a.avi", 60, at=lambda n: 6 * n, unit=Fraction(1, 24))
    with av.open(str(tmp_path / "a.avi")) as container:
        assert container.streams.video[0].frames > 300
    sizes = []
    found = read_cut(lambda: str(tmp_path / "a.avi"), lambda n: (sizes.append(n) or 0, 2), 16)
    assert sizes == [60]
    assert numbers(found.frames) == pytest.approx(list(range(0, 32, 2)), abs=0.6)
    assert found.rate == pytest.approx(4, rel=0.02)


def test_damaged_stretches_are_avoided_after_the_first_try(tmp_path: Path):
    path = tmp_path / "a.mp4"
    write_video(path, codec="libx264", options={"g": "6", "bf": "0"})
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for start, size in places[24:36]:
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    kept: list[Timeline] = []
    frames = read_cut(lambda: str(path), lambda n: (n // 2, 1), 4, keep=kept.append).frames
    assert len(frames) == 4
    assert [len(t.times) for t in kept] == [60, pytest.approx(48, abs=6)]


def test_truncated_files_give_what_is_there(tmp_path: Path):
    write_video(
        tmp_path / "a.mp4",
        codec="libx264",
        options={"g": "6", "movflags": "faststart"},
        size=(64, 96),
    )
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.ts").write_bytes(b"")
    write_video(tmp_path / "b.ts", codec="libx264", options={"g": "6"}, size=(64, 96))
    whole = (tmp_path / "b.ts").read_bytes()
    (tmp_path / "b.ts").write_bytes(whole[: len(whole) // 2])
    counts = []
    read_cut(lambda: str(tmp_path / "b.ts"), lambda n: (counts.append(n) or 0, 1), 8)
    assert 8 < counts[-1] < 60
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 3])
    with pytest.raises(BrokenVideo):
        cut(tmp_path / "a.mp4", first=50, count=8)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4096))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "Invalid data|End of file"),
        (noise, "Invalid data|moov|End of file"),
        (write_sound, "no video stream"),
        (Path.mkdir, "directory|Permission|Invalid"),
        (lambda _: None, "No such file"),
        (lambda p: write_video(p, 3), "3 frames do not hold 8 at stride 1"),
    ],
)
def test_what_gives_no_clip_says_why(tmp_path: Path, make: Callable[[Path], None], message: str):
    make(tmp_path / "a.mp4")
    with pytest.raises(BrokenVideo, match=message):
        cut(tmp_path / "a.mp4")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Times of the frames that are decoded from now on."""
    times: list[int] = []
    plain = video._decoded

    def counted(*arguments):
        for frame in plain(*arguments):
            times.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "_decoded", counted)
    return times


def test_a_long_video_costs_as_much_as_its_key_frames_are_apart(tmp_path: Path, decoded: list[int]):
    write_video(tmp_path / "a.mp4", 50, codec="libx264", options={"g": "25"})
    repeat(tmp_path / "a.mp4", tmp_path / "long.mp4", 40)
    found = cut(tmp_path / "long.mp4", first=1953, stride=2)
    expected = [(1953 + 2 * i) % 50 for i in range(8)]
    assert numbers(found.frames) == pytest.approx(expected, abs=0.6)
    assert len(decoded) <= 25 + 16


USUAL_BETWEEN = ("libx264", "libx265", "mpeg4", "mpeg2video")


def moving(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """Grain that shifts by three pixels a frame, so frames build on each other."""
    grain = np.random.default_rng(0).integers(0, 256, (height, 512), dtype=np.uint8)
    return np.repeat(grain[:, 3 * number : 3 * number + width, None], 3, axis=2)


@pytest.mark.parametrize("codec", [*USUAL_BETWEEN, "libvpx-vp9", "libsvtav1"])
def test_frames_between_are_decoded_only_where_others_need_them(
    tmp_path: Path, decoded: list[int], codec: str
):
    path = tmp_path / "a.mkv"
    options = {"bf": "3", "x265-params": "log-level=none"}
    write_video(path, codec=codec, size=(64, 96), picture=moving, options=options)
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    found = cut(path, first=21, stride=4)
    assert all(np.array_equal(frame, whole[21 + 4 * i]) for i, frame in enumerate(found.frames))
    if codec in USUAL_BETWEEN:  # Some of the B frames between two others are not needed.
        assert len(decoded) < 50 * 0.8


def test_a_timeline_that_is_kept_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_video(tmp_path / "a.mp4")
    kept: list[Timeline] = []
    first = read_cut(lambda: str(tmp_path / "a.mp4"), lambda _: (3, 2), 4, keep=kept.append)
    monkeypatch.setattr(video, "read_timeline", None)
    again = read_cut(lambda: str(tmp_path / "a.mp4"), lambda _: (3, 2), 4, kept[0])
    assert all(map(torch.equal, first.frames, again.frames))


def test_pictures_are_turned_as_the_camera_was_held(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(corner(0, 32, 48))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    turned = read_picture(str(tmp_path / "a.png"))
    assert turned.shape == (48, 32, 3)
    assert white_corner(turned) == (False, True)


def test_pictures_of_sixteen_bits_keep_their_range(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    ramp = np.linspace(0, 65535, 48).astype(np.uint16)[None].repeat(4, 0)
    image.fromarray(ramp).save(tmp_path / "a.png")
    found = read_picture(str(tmp_path / "a.png"))[0, :, 0].float()
    torch.testing.assert_close(found, torch.linspace(0, 255, 48), atol=1.0, rtol=0)


def test_broken_pictures_say_so(tmp_path: Path):
    pytest.importorskip("PIL")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(BrokenVideo):
        read_picture(str(tmp_path / "a.png"))


def test_windows_fit_and_strides_are_uniform():
    drawn = [draw_window(100, 16, (1, 6), n) for n in range(1200)]
    assert all(first + 15 * stride < 100 for first, stride in drawn)
    counts = np.bincount([stride for _, stride in drawn], minlength=7)[1:]
    assert len(counts) == 6 and counts.min() > 140
    assert {draw_window(40, 16, (1, 6), n)[1] for n in range(50)} == {1, 2}
    with pytest.raises(BrokenVideo):
        draw_window(20, 16, (2, 6), 0)


def test_fit_covers_and_cuts_the_centre():
    ramp = torch.arange(8, dtype=torch.uint8).view(1, 1, 8, 1).expand(2, 4, 8, 3)
    fitted = fit_clip(ramp, (4, 4))
    expected = torch.tensor([2.0, 3.0, 4.0, 5.0]) / 127.5 - 1
    torch.testing.assert_close(fitted[0, 0, 0], expected)


def test_eight_bits_are_within_half_a_step_of_floats(tmp_path: Path):
    noise = torch.randint(0, 256, (2, 90, 160, 3), generator=torch.Generator().manual_seed(0))
    found = fit_clip(noise.to(torch.uint8), (32, 48))
    video_in = noise.float().permute(0, 3, 1, 2) / 127.5 - 1
    scale = 32 / 90
    exact = torch.nn.functional.interpolate(
        video_in, (32, int(160 * scale)), mode="bilinear", antialias=True
    )
    left = (exact.shape[-1] - 48) // 2
    difference = (found - exact[..., left : left + 48]).abs().max()
    # Two passes, each rounded to a step of 1 / 127.5.
    assert float(difference) < 1.5 / 127.5


def test_kinds_of_files_that_players_open():
    assert {".mp4", ".MP4", ".m4v", ".gif", ".ts", ".wmv", ".flv", ".3gp", ".mpg", ".ogv"} <= {
        *VIDEO_SUFFIXES,
        ".MP4",
    }
    assert is_clip(Path("A.MP4"), 16) and not is_clip(Path("a.png"), 16)
    assert is_clip(Path("a.PNG"), 1) and not is_clip(Path("a.txt"), 1)
