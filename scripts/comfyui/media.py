"""Pictures that are given, and those that are made of a video."""

import math
from pathlib import Path

import av
from PIL import Image, UnidentifiedImageError

COLUMNS = 4
GAP = 4
PAPER = (24, 24, 28)
# Smaller frames are enlarged by a whole number up to this width on the contact sheet.
READABLE_WIDTH = 192


def check_picture(path: Path) -> str | None:
    """What is wrong with a picture file, in one sentence, or None."""
    try:
        with Image.open(path) as picture:
            picture.load()
    except UnidentifiedImageError:
        return f"{path} is not a picture that Pillow can read; give a PNG, JPEG or WebP file."
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path} is a broken picture file ({error}); give another one."
    return None


def frames_of(video: Path) -> tuple[list[Image.Image], float]:
    """All frames of a video and its frames per second."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 8)
        return [frame.to_image() for frame in container.decode(stream)], rate


def contact_sheet(frames: list[Image.Image]) -> Image.Image:
    """The frames in rows of four, in reading order."""
    zoom = max(1, READABLE_WIDTH // frames[0].width)
    width, height = (zoom * length for length in frames[0].size)
    rows = math.ceil(len(frames) / COLUMNS)
    size = (COLUMNS * (width + GAP) + GAP, rows * (height + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    for i, frame in enumerate(frames):
        row, column = divmod(i, COLUMNS)
        place = (GAP + column * (width + GAP), GAP + row * (height + GAP))
        sheet.paste(frame.resize((width, height), Image.Resampling.NEAREST), place)
    return sheet


def write_sheet(video: Path, webp: Path, png: Path) -> None:
    """Writes a looping animation and a contact sheet of a video."""
    frames, rate = frames_of(video)
    first, *rest = frames
    duration = round(1000 / rate)
    first.save(webp, save_all=True, append_images=rest, duration=duration, loop=0, quality=85)
    contact_sheet(frames).save(png, optimize=True)
