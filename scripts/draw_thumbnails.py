"""Draws the pictures that ComfyUI's template browser shows, one beside each workflow's file.

    python scripts/draw_thumbnails.py [FOLDER OF VIDEOS]

Needs a Python with PyAV and Pillow, as ComfyUI has. Runs each workflow that the embedded model can
run, as scripts/demo.py does, and draws its images and its video. A workflow without a video gets a
drawing of its graph. With a folder nothing runs: it holds `animate.mp4` and so on, as made before.

The page asks for a `.jpg`; the files are animated WebP all the same, which browsers go by content
to show.
"""

import io
import json
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
from comfyui.server import ComfyServer, link_checkpoint
from comfyui.setup import PACK, find_host
from demo_options import EMBEDDED, parse
from demo_prompt import make_prompt
from demo_run import saved_videos
from embedded_examples import EXAMPLES
from PIL import Image, ImageDraw, ImageFont
from shipped.names import TITLES, file_name

SIZE = (320, 320)  # the browser shows squares
EDGE, SMALL = 12, 56
GROUND, NODE, WIRE = (30, 30, 34), (92, 92, 104), (170, 170, 180)
FRAME_MILLISECONDS = 125


def main() -> int:
    """Returns the exit status."""
    with tempfile.TemporaryDirectory() as work:
        videos = Path(sys.argv[1] if len(sys.argv) > 1 else work)
        if len(sys.argv) == 1:
            host = find_host(None)
            with ComfyServer(host.comfyui, packs=[PACK], python=host.python) as server:
                make_videos(EXAMPLES, videos, server)
        for short in TITLES:
            print(draw(short, videos, PACK / "workflows").name)
    return 0


def make_videos(shorts: Iterable[str], folder: Path, server: ComfyServer, *flags: str) -> None:
    """Runs workflows on the embedded model and keeps their videos; flags: of the demo."""
    checkpoints = server.base / "models" / "checkpoints"
    if not (checkpoints / EMBEDDED.name).exists():
        link_checkpoint(EMBEDDED, checkpoints)
    for short in shorts:
        options = parse(["--workflow", short, *flags])
        prompt = make_prompt(options, server, EMBEDDED.name)
        saved = saved_videos(server.prompt(prompt))
        (folder / f"{short}.mp4").write_bytes(server.view(**saved[0]))


def draw(short: str, videos: Path, folder: Path) -> Path:
    """Writes a workflow's picture into `folder`: of its video, if there is one."""
    path = (folder / file_name(short)).with_suffix(".jpg")
    video = videos / f"{short}.mp4"
    if video.is_file():
        images = [PACK / "assets" / name for name in dict.fromkeys(EXAMPLES[short].pictures)]
        cards = list(video_cards(images, video))
    else:
        text = (PACK / "workflows" / file_name(short)).read_text("utf-8")
        cards = [graph_card(json.loads(text), TITLES[short])]
    path.write_bytes(webp(cards))
    return path


def video_cards(images: list[Path], video: Path) -> Iterable[Image.Image]:
    """A card for each frame: the images above, the frame below."""
    above = [Image.open(path).convert("RGB").resize((SMALL, SMALL)) for path in images]
    room = (SIZE[0] - 2 * EDGE, SIZE[1] - SMALL - 3 * EDGE)
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            card = Image.new("RGB", SIZE, GROUND)
            left = (SIZE[0] - len(above) * SMALL - (len(above) - 1) * EDGE) // 2
            for number, image in enumerate(above):
                card.paste(image, (left + number * (SMALL + EDGE), EDGE))
            shown = fitted(frame.to_image(), room)
            top = 2 * EDGE + SMALL + (room[1] - shown.height) // 2
            card.paste(shown, ((SIZE[0] - shown.width) // 2, top))
            yield card


def fitted(image: Image.Image, room: tuple[int, int]) -> Image.Image:
    """The image as large as the room lets it be."""
    scale = min(room[0] / image.width, room[1] / image.height)
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def graph_card(workflow: dict[str, Any], title: str) -> Image.Image:
    """The title above a drawing of the graph: groups, nodes and wires."""
    boxes = [group["bounding"] for group in workflow["groups"]]
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    width = max(b[0] + b[2] for b in boxes) - left
    height = max(b[1] + b[3] for b in boxes) - top
    scale = min((SIZE[0] - 2 * EDGE) / width, (SIZE[1] - 2 * EDGE) / height) * 2
    card = Image.new("RGB", (2 * SIZE[0], 2 * SIZE[1]), GROUND)
    draw = ImageDraw.Draw(card)
    font = ImageFont.load_default(size=52)
    text = "\n".join(textwrap.wrap(title, 20))
    draw.multiline_text((2 * EDGE, 4 * EDGE), text, fill=WIRE, font=font, spacing=12)
    margin = (card.height - height * scale) * 0.75

    def at(x: float, y: float) -> tuple[float, float]:
        return 2 * EDGE + (x - left) * scale, margin + (y - top) * scale

    for group in workflow["groups"]:
        x, y, across, down = group["bounding"]
        colour = (
            group["color"]
            if len(group["color"]) == 7
            else "#" + "".join(c * 2 for c in group["color"][1:])
        )
        draw.rectangle((*at(x, y), *at(x + across, y + down)), fill=colour)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    points = {r["id"]: r for r in workflow["extra"].get("reroutes", [])}
    parents = {e["id"]: e["parentId"] for e in workflow["extra"].get("linkExtensions", [])}
    for link, origin, slot, target, target_slot, _ in workflow["links"]:
        way, key = [], parents.get(link)
        while key is not None:
            way.append(at(*points[key]["pos"]))
            key = points[key].get("parentId")
        source, end = nodes[origin], nodes[target]
        start = at(source["pos"][0] + source["size"][0], source["pos"][1] + 14 + 20 * slot)
        goal = at(end["pos"][0], end["pos"][1] + 14 + 20 * target_slot)
        draw.line([start, *way[::-1], goal], fill=WIRE, width=2)
    for node in nodes.values():
        (x, y), (across, down) = node["pos"], node["size"]
        draw.rectangle((*at(x, y - 30), *at(x + across, y + down)), fill=NODE)
    return card.resize(SIZE, Image.Resampling.LANCZOS)


def webp(cards: list[Image.Image], quality: int = 70, pace: int = 1) -> bytes:
    """The cards as an animation; one card as a still. pace: frames of the video for each card."""
    file = io.BytesIO()
    options: dict[str, Any] = {"quality": quality, "method": 6}
    if len(cards) > 1:
        options |= {
            "save_all": True,
            "append_images": cards[1:],
            "duration": pace * FRAME_MILLISECONDS,
            "loop": 0,
        }
    cards[0].save(file, "WEBP", **options)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
