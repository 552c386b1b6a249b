"""Reading clips and pictures by PyAV and Pillow, as a player shows them.

Frames are taken by the time at which they are shown, after a seek to the key frame before them;
rotation and the pixels' own aspect ratio are applied.
"""

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dc_model.preprocess import fit_image
from dc_model.shown import shown

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".ts", ".mts", ".m2ts"}
    | {".mpg", ".mpeg", ".wmv", ".ogv", ".flv", ".3gp"}
)
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})

# A header's rate is the nominal one (24, 29.97) where it agrees with the frames that there are.
SAME_RATE = 0.02

# Decoders that leave out a frame when told so before its packet; dav1d reads this once, at the
# first packet, and would leave out frames that are wanted.
SKIPPING_DECODERS = frozenset({"h264", "hevc", "mpeg4", "mpeg2video"})

Source = Callable[[], Any]  # opens the file again: a path or a binary file
Window = Callable[[int], tuple[int, int]]


class BrokenVideo(ValueError):  # noqa: N818 - a state of the data, counted, not an error
    """A file that cannot give a clip; the message says why."""


class _Untimed(Exception):  # noqa: N818 - sends the reader to the slow way
    """The frames do not come at the times that the file's packets state."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """When a file's frames are shown.

    times: of each frame, in the stream's own unit, rising. rate: frames per second. keys: times of
    the key frames, where a decoder can begin. second: in the stream's unit. numbered: the file's
    time stamps are of no use; `times` are frame numbers.
    """

    times: NDArray[np.int64]
    rate: float
    keys: tuple[int, ...] = ()
    second: int = 1
    numbered: bool = False

    def shown(self, first: int, stride: int, count: int) -> list[int]:
        """Times of the frames on screen at `count` even moments: `stride` mean frame lengths apart,
        from `first` on. Where all frames last equally long these are the frames' numbers."""
        length = (self.times[-1] - self.times[0]) / max(1, len(self.times) - 1)
        moments = self.times[0] + (first + np.arange(count) * stride + 0.5) * length
        return self.times[np.searchsorted(self.times, moments, side="right") - 1].tolist()

    def starts(self, time: int) -> list[int | None]:
        """Where to seek for the frame at `time`, the best first; None is the file's beginning.

        Streams without an index land after the key frame that was asked for.
        """
        key = self.keys[bisect_right(self.keys, time) - 1] if self.keys else None
        return [None] if key is None or key > time else [key, key - self.second, None]


@dataclass(frozen=True, slots=True)
class Cut:
    """uint8 frames, `[H, W, 3]` each, which they are, and the file's frames per second."""

    # Not one tensor: 16 frames of 720p would be 44 MB of fresh memory, which costs more than to
    # convert them.
    frames: Sequence[Tensor]
    first: int
    stride: int
    rate: float


def read_cut(
    source: Source,
    window: Window,
    count: int,
    timeline: Timeline | None = None,
    keep: Callable[[Timeline], None] = lambda _: None,
) -> Cut:
    """`count` frames of a video. window: gives (first, stride) from the number of frames.

    timeline: as `keep` was given it at an earlier call. Raises BrokenVideo when the file cannot be
    decoded or is too short.
    """
    try:
        if timeline is None:
            keep(timeline := read_timeline(source()))
        return _cut(source, window, count, timeline)
    except _Untimed:
        # Packets that do not decode, or time stamps in the decoder's order, as AVI has them.
        keep(timeline := decoded_timeline(source()))
    try:
        return _cut(source, window, count, timeline)
    except _Untimed:
        raise BrokenVideo("its frames differ from one reading to the next") from None


def _cut(source: Source, window: Window, count: int, timeline: Timeline) -> Cut:
    first, stride = window(len(timeline.times))
    if first + (count - 1) * stride >= len(timeline.times):
        raise BrokenVideo(
            f"{len(timeline.times)} frames do not hold {count} at stride {stride} from {first} on"
        )
    frames = _frames_at(source, timeline, timeline.shown(first, stride, count))
    return Cut(frames, first, stride, timeline.rate)


def read_timeline(opened: Any) -> Timeline:
    """By the file's packets, which are not decoded. Raises BrokenVideo."""
    with _Reading(opened) as (container, stream):
        packets = [
            (packet.dts if packet.pts is None else packet.pts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
        times = sorted(time for time, _ in packets if time is not None)
        keys = sorted(time for time, is_key in packets if is_key and time is not None)
        return _timeline(times, stream, len(packets), keys)


def decoded_timeline(opened: Any) -> Timeline:
    """By decoding every frame, for files whose packets promise other ones. Raises BrokenVideo."""
    with _Reading(opened) as (container, stream):
        times = [frame.pts for frame in _decoded(container, stream)]
        rising = None not in times and all(a < b for a, b in pairwise(times))
        return _timeline(times if rising else [], stream, len(times))


def _timeline(times: Sequence[int], stream: Any, count: int, keys: Sequence[int] = ()) -> Timeline:
    """`count` frames, by number where their times are missing."""
    if not count:
        raise BrokenVideo("it has no frames")
    nominal = float(stream.average_rate or 0)
    if len(times) < count or len(set(times)) < count:
        return Timeline(np.arange(count), nominal, numbered=True)
    span = float((times[-1] - times[0]) * stream.time_base)
    counted = (count - 1) / span if span else nominal
    agree = nominal and abs(counted / nominal - 1) < SAME_RATE
    rate, second = nominal if agree else counted, round(1 / stream.time_base)
    return Timeline(np.array(times, dtype=np.int64), rate, tuple(keys), second)


class _Reading:
    """Opens a file at its main video stream; FFmpeg's errors leave as BrokenVideo."""

    def __init__(self, opened: Any):
        self.opened = opened
        self.container: Any = None

    def __enter__(self) -> tuple[Any, Any]:
        import av
        from av.error import FFmpegError

        try:
            self.container = av.open(self.opened)
        except (FFmpegError, OSError, ValueError) as error:
            raise BrokenVideo(_reason(error)) from error
        stream = self.container.streams.best("video")
        if stream is None:
            self.container.close()
            raise BrokenVideo("it has no video stream")
        return self.container, stream

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        from av.error import FFmpegError

        self.container.close()
        if isinstance(error, FFmpegError | OSError):
            raise BrokenVideo(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Without the number and the path that operating system errors carry."""
    return shown(getattr(error, "strerror", None) or error)


def _decoded(container: Any, stream: Any, wanted: Container[int] | None = None) -> Iterator[Any]:
    """Whole frames as they are shown; packets that do not decode are left out.

    wanted: times of the frames that are needed; others are decoded only where these build on them.
    """
    from av.error import FFmpegError

    if stream.codec_context.codec.name not in SKIPPING_DECODERS:
        wanted = None
    for packet in container.demux(stream):
        if wanted is not None and packet.pts is not None:
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        try:
            frames = packet.decode()
        except FFmpegError:
            continue
        yield from (frame for frame in frames if not frame.is_corrupt)


def _frames_at(source: Source, timeline: Timeline, wanted: Sequence[int]) -> list[Tensor]:
    """The frames at these times, rising. Raises _Untimed when one of them does not come."""
    from av.error import FFmpegError

    for start in timeline.starts(wanted[0]):
        with _Reading(source()) as (container, stream):
            if start is not None:
                try:
                    container.seek(start, stream=stream)
                except FFmpegError:
                    continue
            frames = _decoded(container, stream, None if timeline.numbered else frozenset(wanted))
            found = _pick(frames, wanted, timeline.numbered, stream.sample_aspect_ratio)
            if found is not None:
                return found
    raise _Untimed


def _pick(
    frames: Iterator[Any], wanted: Sequence[int], numbered: bool, pixel_aspect: Any
) -> list[Tensor] | None:
    """The frames at these times, or None where one is missing or the times do not rise."""
    out: list[Tensor] = []
    before = -1 << 63
    for number, frame in enumerate(frames):
        time = number if numbered else frame.pts
        if time is None or time <= before or time > wanted[len(out)]:
            return None
        before = time
        if time == wanted[len(out)]:
            # A long frame may be on screen at several of the moments.
            out += [_upright(frame, pixel_aspect)] * wanted.count(time)
        if len(out) == len(wanted):
            return out
    return None


def _upright(frame: Any, pixel_aspect: Any) -> Tensor:
    """A frame as it is shown: `[H, W, 3]`, uint8, its pixels square, turned and mirrored as the
    file says."""
    from av.sidedata.sidedata import Type

    width = max(1, round(frame.width * (pixel_aspect or 1)))
    pixels = frame.reformat(width=width, format="rgb24").to_ndarray()
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is not None:
        pixels = _placed(pixels, np.frombuffer(matrix, dtype=np.int32).tolist())
    return torch.from_numpy(pixels.copy())


def _placed(pixels: NDArray[np.uint8], matrix: Sequence[int]) -> NDArray[np.uint8]:
    """By the nearest quarter turn, with or without a mirror, of a display matrix.

    matrix: a, b, u, c, d, v, ...: a pixel goes to the right by `a x + c y`, down by `b x + d y`
    (ISO/IEC 14496-12, 6.2.2).
    """
    a, b, _, c, d = matrix[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    else:
        right, down = a, d
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def read_picture(opened: Any) -> Tensor:
    """A picture as it is shown: uint8 `[H, W, 3]`. Raises BrokenVideo."""
    from PIL import Image, ImageOps

    try:
        with Image.open(opened) as image:
            turned = ImageOps.exif_transpose(image)
            if turned.mode.startswith("I"):  # 16 bits, which Pillow would cut off.
                grey = (np.asarray(turned) / 257).round().clip(0, 255).astype(np.uint8)
                turned = Image.fromarray(grey)
            return torch.from_numpy(np.asarray(turned.convert("RGB")).copy())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenVideo(_reason(error)) from error


def draw_window(frames: int, count: int, strides: tuple[int, int], draw: int) -> tuple[int, int]:
    """(first, stride) uniform among the strides that fit. Raises BrokenVideo if none does."""
    random = np.random.default_rng(draw)
    low, high = strides
    # A single frame, as of a set of pictures, fits at any stride.
    longest = high if count == 1 else (frames - 1) // (count - 1)
    if longest < low:
        raise BrokenVideo(f"{frames} frames do not hold {count} at stride {low}")
    stride = int(random.integers(low, min(high, longest) + 1))
    first = int(random.integers(frames - (count - 1) * stride))
    return first, stride


def fit_clip(frames: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
    """uint8 frames, `[H, W, 3]` each, to `[T, 3, h, w]` in [-1, 1]: cover the size, cut the centre.

    Resized in 8 bits, as the published loaders do it: a tenth of the time.
    """
    fitted = [fit_image(frame.permute(2, 0, 1)[None], *size, "crop") for frame in frames]
    return torch.cat(fitted).contiguous().float() / 127.5 - 1


def is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def is_clip(path: Path, num_frames: int) -> bool:
    """Whether a file, by its suffix, is a video, or a picture where one frame is enough."""
    return path.suffix.lower() in VIDEO_SUFFIXES or (num_frames == 1 and is_picture(path.name))
