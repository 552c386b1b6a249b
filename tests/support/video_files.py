"""Small videos as cameras, editors and accidents make them; brightness numbers the frames."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

av = pytest.importorskip("av")

STEP = 4


def flat(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """A frame of brightness `STEP * number`."""
    return np.full((height, width, 3), (STEP * number) % 256, dtype=np.uint8)


def write_video(
    path: Path | str,
    frames: int = 60,
    *,
    codec: str = "mpeg4",
    rate: int = 24,
    size: tuple[int, int] = (32, 48),
    picture: Callable[[int, int, int], NDArray[np.uint8]] = flat,
    at: Callable[[int], int] | None = None,
    unit: Fraction = Fraction(1, 90),
    pixel_aspect: Fraction | None = None,
    rotation: int | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Encode `picture(number, height, width)`.

    at: each frame's time in `unit`s, where they do not follow the rate. rotation: degrees
    counterclockwise, as a phone notes how it was held.
    """
    height, width = size
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 1_000_000  # a step of brightness must survive
        if at is not None:
            stream.codec_context.time_base = unit
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            if at is not None:
                frame.pts, frame.time_base = at(number), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_sound(path: Path) -> None:
    """A file of the right suffix without pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        silence = np.zeros((1, 8000), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def repeat(source: Path, path: Path, times: int) -> None:
    """The same stretch again and again, without encoding it again."""
    with av.open(str(path), "w") as container:
        out: Any = None
        for turn in range(times):
            with av.open(str(source)) as one:
                stream = one.streams.video[0]
                out = out or container.add_stream_from_template(stream)
                length = stream.duration or 0
                for packet in one.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts += turn * length
                    packet.dts += turn * length
                    packet.stream = out
                    container.mux(packet)
