"""Draws the picture of each help page: the node in its workflow, and the video made with it.

    python scripts/draw_help.py [NODE...]

Needs Chromium, and a Python with aiohttp and Pillow, as ComfyUI has. Opens the shipped workflows in
ComfyUI's own page; the videos are those of the templates' pictures (draw_thumbnails.py). All
languages share the pictures, in web/docs/images/. Afterwards `write_help.py` names them in the
pages.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path

from comfyui.browser import Browser, find_chromium
from comfyui.page import load_graph, open_page
from comfyui.server import ComfyServer
from comfyui.setup import PACK, find_host
from demo_options import EMBEDDED
from draw_thumbnails import webp
from embedded_examples import EXAMPLES
from PIL import Image, ImageSequence
from shipped import files
from shipped.names import TITLES, file_name

FOLDER = PACK / "web" / "docs" / "images"
# Pixels of the picture: the node, at most, and the video beside it.
ROOM, VIDEO, EDGE = (420, 300), 170, 10
GROUND = (30, 30, 34)
MARGIN = 40  # around the node, where its wires are
MOST = 30_000  # bytes
EVERY = 2  # of the video's frames
# Goes to the node; answers with its box in the window: left, top, right, bottom.
SHOW = """(type => {
  const node = app.graph.nodes.find(node => node.type === type);
  node.setSize([node.size[0], Math.min(node.size[1], node.computeSize()[1] + 10)]);
  node.updateArea?.();
  const [x, y, width, height] = node.getBounding();
  const view = app.canvas.ds;
  view.scale = 1;
  view.offset = [innerWidth / 2 - x - width / 2, innerHeight / 2 - y - height / 2];
  app.canvas.setDirty(true, true);
  const box = [x + view.offset[0], y + view.offset[1]];
  return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
    done([...box, box[0] + width, box[1] + height]))));
})(%s)"""


def main() -> int:
    """Returns the exit status."""
    chromium = find_chromium()
    if chromium is None:
        print("Install Chromium, or name one in CHROMIUM.", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    host = find_host(None)
    with ComfyServer(host.comfyui, packs=[PACK], python=host.python) as server:
        shutil.copy(host.comfyui / "input" / "example.png", server.base / "input")
        for file in files.EVERY:  # or the page marks them as missing
            place = server.base / "models" / file.folder / file.name
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(EMBEDDED)
        with Browser(chromium) as browser:
            open_page(browser, server, **{"Comfy.NodeBadge.NodeSourceBadgeMode": "None"})
            for path in draw(browser, FOLDER, set(sys.argv[1:])):
                print(path.name)
    return 0


def draw(browser: Browser, folder: Path, only: Set[str] = frozenset()) -> Iterator[Path]:
    """Writes a picture for each node that a workflow shows; only: for these, if any."""
    for short, shown in shown_by().items():
        node_ids = [node_id for node_id in shown if not only or node_id in only]
        if not node_ids:
            continue
        path = PACK / "workflows" / file_name(short)
        load_graph(browser, path.read_text("utf-8"))
        for node_id in node_ids:
            node = cropped(browser, node_id)
            written = folder / f"{node_id}.webp"
            written.write_bytes(small(node, path.with_suffix(".jpg")))
            yield written


def shown_by() -> dict[str, list[str]]:
    """Nodes by the workflow that shows them: the first, better one that has a video."""
    found: dict[str, str] = {}
    for short in sorted(TITLES, key=lambda short: short not in EXAMPLES):
        text = (PACK / "workflows" / file_name(short)).read_text("utf-8")
        outer = json.loads(text)["nodes"]
        for kind in re.findall(r"DynamiCrafter\w+", " ".join(node["type"] for node in outer)):
            found.setdefault(kind, short)
    return {
        short: [kind for kind, by in found.items() if by == short] for short in {*found.values()}
    }


def cropped(browser: Browser, node_id: str) -> Image.Image:
    """The node and its surroundings, as the page draws them."""
    left, top, right, bottom = browser.evaluate(SHOW % json.dumps(node_id))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.png")
        browser.screenshot(path)
        with Image.open(path) as image:
            box = (left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN)
            return image.convert("RGB").crop(tuple(map(round, box)))  # type: ignore[arg-type]


def small(node: Image.Image, video: Path) -> bytes:
    """Node and video side by side, as an animation of less than `MOST` bytes."""
    node.thumbnail(ROOM, Image.Resampling.LANCZOS)
    with Image.open(video) as animation:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(animation)][::EVERY]
    height = max(node.height, VIDEO)
    cards = []
    for frame in frames:
        card = Image.new("RGB", (node.width + EDGE + VIDEO, height), GROUND)
        card.paste(node, (0, (height - node.height) // 2))
        shown = frame.resize((VIDEO, VIDEO), Image.Resampling.LANCZOS)
        card.paste(shown, (node.width + EDGE, (height - VIDEO) // 2))
        cards.append(card)
    for quality in (70, 50, 30, 15):
        data = webp(cards, quality, EVERY)
        if len(data) < MOST:
            return data
    return webp(cards[-1:])


if __name__ == "__main__":
    sys.exit(main())
