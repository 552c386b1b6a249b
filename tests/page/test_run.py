"""Across the pack: Run pressed in ComfyUI's own page, and the saved files dropped on it."""

import base64
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pruned_files
import pytest
import small_checkpoint
from comfyui.browser import PATIENCE, Browser
from comfyui.page import load_graph, open_page
from comfyui.server import ComfyServer
from shipped.files import PRUNED_1024
from shipped.names import TITLES, file_name
from small_workflows import BOXES, LENGTH, LONG_FRAMES, SMALL, VARIANTS, VIEW_FRAMES
from studio import Studio

pytestmark = [pytest.mark.server, pytest.mark.slow]

# Values by the widget's name, in whatever node or box of ours has it.
VALUES: dict[str, Any] = {
    **{"width": 64, "height": 64, "length": 4},
    "ckpt_name": "page_512.safetensors",
    "checkpoint": "page_512.safetensors",
    "steps": 1,
}
SET = """((values) => app.graph.nodes.filter(
  node => node.type.startsWith('DynamiCrafter') || node.isSubgraphNode?.()
).forEach(node => (node.widgets ?? []).forEach(widget => {
  if (widget.name in values) widget.value = values[widget.name];
})))(%s)"""
# Two more files of the frames: an animation and a picture, beside the video.
SAVE_MORE = """(() => {
  const frames = app.graph.nodes.find(node => node.type === 'DynamiCrafterVideoDecode');
  ['SaveAnimatedWEBP', 'SaveImage'].forEach(type => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    frames.connect(0, node, 0);
  });
})()"""
# The same by the node's type.
SET_BY_TYPE = """((values) => app.graph.nodes.forEach(node => {
  const own = values[node.type] ?? {};
  (node.widgets ?? []).forEach(widget => {
    if (widget.name in own) widget.value = own[widget.name];
  });
}))(%s)"""
# Pictures for a box, and a node that saves what it makes.
AROUND_BOX = """(() => {
  const box = app.graph.nodes[0];
  const made = type => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    return node;
  };
  box.inputs.forEach((input, i) => {
    if (input.type === 'IMAGE' && input.link == null) made('LoadImage').connect(0, box, i);
  });
  box.outputs.forEach((output, i) => {
    if (output.type === 'VIDEO') box.connect(i, made('SaveVideo'), 0);
  });
})()"""
PRESS_RUN = """[...document.querySelectorAll('button')]
  .find(button => button.innerText.trim() === 'Run').click()"""
SHAPE = """JSON.stringify([
  app.graph.nodes.map(node => [node.type, (node.widgets ?? []).map(w => [w.name, w.value])]),
  [...app.graph.links.values()].map(k => [k.origin_slot, k.target_slot, k.type]),
])"""
DROP = """((name, type, data) => {
  const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const event = { bubbles: true, cancelable: true, dataTransfer, clientX: 800, clientY: 700 };
  const canvas = app.canvas.canvas;
  ['dragover', 'drop'].forEach(kind => canvas.dispatchEvent(new DragEvent(kind, event)));
})(%s)"""
# A click on the innermost element that shows a text, and whether one does.
CLICK = "[...document.querySelectorAll('body *')].filter(%s).at(-1).click()"
SHOWS = "element => element.checkVisibility() && element.innerText?.trim() === %s"
PAGES_OWN = ("control_after_generate", "upload", "$$")
KINDS = {"mp4": "video/mp4", "webp": "image/webp", "png": "image/png", "json": "application/json"}


@pytest.fixture(scope="module")
def checkpoint(server: ComfyServer, golden: Path) -> None:
    path = server.base / "models" / "checkpoints" / VALUES["ckpt_name"]
    lender = golden / "pipeline" / "512_frames8.json"
    small_checkpoint.write(lender, path, "512", seed=0, edit=None, stated=True)


def load(page: Browser, path: Path, seed: int) -> None:
    """seed: another one for each run, or the server has all results already."""
    load_graph(page, path.read_text(encoding="utf-8"))
    page.evaluate(SET % json.dumps({**VALUES, "seed": seed}))


def pressed(page: Browser, server: ComfyServer) -> list[Path]:
    """The files that one press of Run has saved."""
    before = set(server.get("/history"))
    page.evaluate(f"{PRESS_RUN}; 0")
    deadline = time.monotonic() + PATIENCE
    while not (new := set(server.get("/history")) - before):
        assert time.monotonic() < deadline, page.evaluate("document.body.innerText")[-2000:]
        time.sleep(0.2)
    (entry,) = (server.get(f"/history/{key}")[key] for key in new)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    saved = [i for out in entry["outputs"].values() for i in out.get("images", [])]
    output = server.base / "output"
    return [output / i["subfolder"] / i["filename"] for i in saved if i["type"] == "output"]


@pytest.fixture(scope="module")
def files(page: Browser, server: ComfyServer, root: Path, checkpoint: None) -> dict[str, Path]:
    """What *Animate an image* saves as, by suffix, and its prompt; `shape` is its graph."""
    load(page, root / "workflows" / file_name("animate"), 1)
    page.evaluate(f"{SAVE_MORE}; 0")
    found = {path.suffix[1:]: path for path in pressed(page, server)}
    exported = server.base / "prompt.json"
    prompt = page.evaluate("app.graphToPrompt().then(p => p.output)")
    exported.write_text(json.dumps(prompt), encoding="utf-8")
    shape = server.base / "shape"
    shape.write_text(page.evaluate(SHAPE), encoding="utf-8")
    return {**found, "json": exported, "shape": shape}


def test_run_saves_a_video(page: Browser, files: dict[str, Path]) -> None:
    assert files["mp4"].stat().st_size > 1000
    shown = "Object.values(app.nodeOutputs).flatMap(o => o.images ?? []).map(i => i.filename)"
    assert files["mp4"].name in page.evaluate(shown)


def test_run_works_in_the_box(
    page: Browser, server: ComfyServer, root: Path, checkpoint: None
) -> None:
    load(page, root / "workflows" / file_name("box"), 2)
    (made,) = pressed(page, server)
    assert made.suffix == ".mp4"


EVERY = pytest.mark.skipif(
    "PAGE_TESTS" not in os.environ, reason="takes minutes; PAGE_TESTS=1 runs it"
)


@pytest.fixture(scope="module")
def more_files(server: ComfyServer, golden: Path) -> None:
    """A ControlNet, the three files of the workflow for pruned ones, and a folder of pictures."""
    models = server.base / "models"
    small_checkpoint.write_sketch_controlnet(models / "controlnet" / "small_sketch.safetensors")
    pruned_files.write(golden / "pipeline" / "512_frames8.json", models)
    pictures = server.base / "input" / "pictures"
    pictures.mkdir(exist_ok=True)
    shutil.copy(server.base / "input" / "example.png", pictures)


@EVERY
@pytest.mark.parametrize("short", TITLES)
def test_run_works_in_every_workflow(
    page: Browser, server: ComfyServer, root: Path, golden: Path, more_files: None, short: str
) -> None:
    name = PRUNED_1024.name
    if short != "pruned":
        name = Studio(server, golden).small_checkpoint(VARIANTS.get(short, "512"))
    # Two keyframes lie eight frames apart.
    lengths = {"long": LONG_FRAMES, "viewcrafter": VIEW_FRAMES, "keyframes": 16}
    values = {
        **SMALL,
        "DynamiCrafterCheckpointLoader": {"ckpt_name": name, "weight_dtype": "default"},
        "LoadImage": {"image": "example.png"},
        "DynamiCrafterSketchControl": {
            "control_net_name": "small_sketch.safetensors",
            "frames": "2",
        },
    }
    load(page, root / "workflows" / file_name(short), 7)
    for node in ("DynamiCrafterVisualDetailGuidance", "DynamiCrafterPromptSchedule"):
        values[node] = {**SMALL[node], "length": lengths.get(short, LENGTH)}
    page.evaluate(SET % json.dumps({"checkpoint": name}))
    page.evaluate(SET_BY_TYPE % json.dumps(values))
    saved = pressed(page, server)
    assert {path.suffix for path in saved} == {".mp4"}


@EVERY
@pytest.mark.parametrize("box", BOXES)
def test_run_works_in_every_box(
    page: Browser, server: ComfyServer, root: Path, golden: Path, box: str
) -> None:
    name = Studio(server, golden).small_checkpoint(BOXES[box])
    load(page, root / "subgraphs" / f"{box}.json", 8)
    page.evaluate(SET % json.dumps({"checkpoint": name}))
    page.evaluate(f"{AROUND_BOX}; 0")
    page.evaluate(SET_BY_TYPE % json.dumps({"LoadImage": {"image": "example.png"}}))
    saved = pressed(page, server)
    assert {path.suffix for path in saved} == {".mp4"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_file_restores_the_graph(
    page: Browser, files: dict[str, Path], kind: str
) -> None:
    page.evaluate("app.graph.clear(); 0")
    data = base64.b64encode(files[kind].read_bytes()).decode()
    page.evaluate(DROP % ",".join(map(json.dumps, (files[kind].name, KINDS[kind], data))) + "; 0")
    page.wait_for("app.graph.nodes.some(node => node.type === 'SaveVideo')", 60)
    nodes, links = json.loads(page.evaluate(SHAPE))
    wanted_nodes, wanted_links = json.loads(files["shape"].read_text(encoding="utf-8"))
    # A prompt has no notes, and its nodes stand in another order.
    bare = [node for node in wanted_nodes if node[0] != "MarkdownNote"]
    assert plain(nodes) == plain(bare if kind == "json" else wanted_nodes)
    assert sorted(links) == sorted(wanted_links)


def plain(nodes: list[Any]) -> list[str]:
    """Nodes without the widgets that only the page has."""
    kept = [
        (kind, [value for value in values if not value[0].startswith(PAGES_OWN)])
        for kind, values in nodes
    ]
    return sorted(json.dumps(node) for node in kept)


# The host lists templates in the file system's order, and the page draws the first 24 at once.
SCROLL = "document.querySelectorAll('[role=dialog] *').forEach(one => { one.scrollTop += 300 })"


class Newcomer:
    """Someone who scrolls, clicks on what the page shows, and counts the clicks."""

    def __init__(self, page: Browser) -> None:
        self.page, self.clicks = page, 0

    def click(self, text: str) -> None:
        test = SHOWS % json.dumps(text)
        shown = f"[...document.querySelectorAll('body *')].some({test})"
        self.page.wait_for(f"({SCROLL}, {shown})", 120)
        self.page.evaluate(f"{CLICK % test}; 0")
        self.clicks += 1


def category(root: Path) -> str:
    """What the page calls a pack's templates: the folder's name, or what the pack says for it."""
    texts = json.loads((root / "locales" / "en" / "main.json").read_text(encoding="utf-8"))
    return texts["templateWorkflows"]["category"].get(root.name, root.name)


def test_six_clicks_lead_from_an_empty_page_to_a_video(
    browser: Browser, server: ComfyServer, root: Path, checkpoint: None
) -> None:
    """CONTRIBUTING.md counts them. The file stands in for the one that the page would download."""
    open_page(browser, server, **{"Comfy.RightSidePanel.IsOpen": False})
    browser.evaluate("app.graph.clear(); 0")
    user = Newcomer(browser)
    browser.evaluate("document.querySelector('button[aria-label=Templates]').click(); 0")
    user.clicks += 1
    user.click(category(root))
    user.click("DynamiCrafter - Animate an image")
    browser.wait_for("app.graph.nodes.some(node => node.type === 'SaveVideo')")
    user.click("View details")
    browser.wait_for(
        f"[...document.querySelectorAll('button')].some({SHOWS % json.dumps('Download')})"
    )
    user.clicks += 1
    browser.evaluate(SET % json.dumps({**VALUES, "seed": 3}))
    (made,) = pressed(browser, server)
    user.clicks += 1
    assert made.suffix == ".mp4" and user.clicks == 6
