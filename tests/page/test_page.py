"""Across the pack: workflows, help and translations in ComfyUI's own page."""

import contextlib
import json
import os
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from comfyui import setup as comfy_setup
from comfyui.browser import Browser, BrowserError
from comfyui.page import load_graph, open_page
from comfyui.server import ComfyServer
from comfyui.workflow_api import to_api
from PIL import Image
from search_words import PLACES, WANTED
from shipped.names import file_name

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))

# Older pages have no panel for what is missing.
HAS_PANEL = (
    os.environ.get("COMFYUI_RELEASE", comfy_setup.DEFAULT_RELEASE) == comfy_setup.DEFAULT_RELEASE
)
# What the page shows, in the words of a workflow file.
GRAPH = """({
  nodes: app.graph.nodes.map(node => ({
    id: String(node.id),
    type: node.type,
    known: Boolean(node.isVirtualNode || node.isSubgraphNode?.()
      || LiteGraph.registered_node_types[node.type]?.nodeData),
    values: Object.fromEntries((node.widgets ?? []).map(w => [w.name, w.value])),
  })),
  links: [...app.graph.links.values()].map(
    k => [k.id, k.origin_id, k.origin_slot, k.target_id, k.target_slot, k.type].map(String)),
})"""
SEARCH = (
    "document.querySelector('#vue-app').__vue_app__.config.globalProperties"
    ".$pinia._s.get('nodeDef').nodeSearchService.searchNode(%r)"
)
TRANSLATE = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$t"
# Goes to the note at full size; the text's size and that of the box that it is in.
SHOW_NOTE = """(() => {
  const note = app.graph.nodes.find(node => node.type === 'MarkdownNote');
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [200 - note.pos[0], 150 - note.pos[1]];
  app.canvas.setDirty(true, true);
})()"""
NOTE_SIZE = """(() => {
  const text = document.querySelector('.comfy-markdown .tiptap');
  const top = text.getBoundingClientRect().top;
  const bottoms = [...text.children].map(part => part.getBoundingClientRect().bottom);
  return {
    text: [text.scrollWidth, Math.max(...bottoms) - top],
    box: [text.clientWidth, text.parentElement.clientHeight],
  };
})()"""
# Left, top, right, bottom of every node, as the page measures it, and how much of its title fits.
MEASURED = """app.canvas.graph.nodes.map(node => {
  const [x, y, width, height] = node.getBounding();
  const pen = document.createElement('canvas').getContext('2d');
  pen.font = '14px Inter, sans-serif';
  const room = width - LiteGraph.NODE_TITLE_HEIGHT - 10;
  return {
    type: node.type,
    box: [x, y, x + width, y + height],
    title: pen.measureText(node.getTitle()).width <= room,
  };
})"""
# Opens the box, and answers when it is drawn.
INSIDE = """(() => {
  app.canvas.setGraph(app.graph.nodes[0].subgraph);
  app.canvas.setDirty(true, true);
  return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))));
})()"""
# Opens the panel that says what a workflow lacks; then the files that have a Download button.
OPEN_MISSING = """[...document.querySelectorAll('button')]
  .filter(button => button.innerText.includes('View details')).forEach(button => button.click())"""
DOWNLOADS = """[...document.querySelectorAll('button')]
  .filter(button => button.innerText.trim() === 'Download')
  .map(button => {
    const name = /[\\w.-]+\\.(ckpt|safetensors)/;
    let row = button;
    while (row && !name.test(row.innerText)) row = row.parentElement;
    return row?.innerText.match(name)[0];
  }).sort()"""
FIT_TO_WINDOW = """(() => {
  const boxes = app.graph.groups.map(g => [...g.pos, ...g.size]);
  const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
  const right = Math.max(...boxes.map(b => b[0] + b[2]));
  const bottom = Math.max(...boxes.map(b => b[1] + b[3]));
  const view = app.canvas.ds;
  view.scale = Math.min(innerWidth * 0.9 / (right - left), innerHeight * 0.8 / (bottom - top));
  view.offset = [-left + 80 / view.scale, -top + 80 / view.scale];
  app.canvas.setDirty(true, true);
  // Drawn once the frame after the next begins.
  return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))));
})()"""


@pytest.fixture(scope="module")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.object_info()


def load(page: Browser, path: Path) -> dict[str, Any]:
    """Opens a workflow file in the page; what the page then shows of it."""
    page.errors.clear()
    load_graph(page, path.read_text(encoding="utf-8"))
    shown = page.evaluate(GRAPH)
    assert page.errors == []
    return shown


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_opens_whole(
    page: Browser, path: Path, object_info: dict[str, Any], tmp_path: Path
) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    shown = load(page, path)
    assert [node for node in shown["nodes"] if not node["known"]] == []
    offers_what_is_missing(page, path, object_info)
    assert {n["id"]: n["type"] for n in shown["nodes"]} == {
        str(n["id"]): n["type"] for n in workflow["nodes"]
    }
    assert sorted(shown["links"]) == sorted([*map(str, link)] for link in workflow["links"])
    # What the page would run is what our own conversion runs.
    prompt = page.evaluate("app.graphToPrompt().then(p => p.output)")
    assert inputs_of(prompt) == inputs_of(to_api(workflow, object_info))
    nothing_overlaps(page)
    note_fits(page, workflow)
    page.evaluate(FIT_TO_WINDOW)
    picture = tmp_path / f"{path.stem}.png"
    page.screenshot(picture)
    with Image.open(picture) as image:
        # An empty canvas has few colours.
        assert len(image.convert("RGB").resize((400, 250)).getcolors(100_000)) > 500


def nothing_overlaps(page: Browser) -> None:
    """And every title fits its node."""
    measured = page.evaluate(MEASURED)
    for one, other in combinations(measured, 2):
        assert apart(one["box"], other["box"]), (one["type"], other["type"])
    assert [node["type"] for node in measured if not node["title"]] == []


def note_fits(page: Browser, workflow: dict[str, Any]) -> None:
    """The note's text stands within its node."""
    page.evaluate(SHOW_NOTE)
    nodes = workflow["nodes"]
    (note,) = (n["widgets_values"][0] for n in nodes if n["type"] == "MarkdownNote")
    begin = re.split(r"[*`\n]", note.split("\n", 1)[1])[0]
    # Not the note of the workflow before.
    page.wait_for(f"document.querySelector('.comfy-markdown')?.innerText.includes({begin!r})")
    # The page lays its boxes out in the frames after.
    with contextlib.suppress(BrowserError):
        page.wait_for(f"(s => s.text.every((length, i) => length <= s.box[i]))({NOTE_SIZE})", 30)
    size = page.evaluate(NOTE_SIZE)
    assert size["text"][0] <= size["box"][0] and size["text"][1] <= size["box"][1], size


def apart(one: list[float], other: list[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) have nothing in common."""
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def offers_what_is_missing(page: Browser, path: Path, object_info: dict[str, Any]) -> None:
    """A button to download each file that the workflow names and the server lacks."""
    if not HAS_PANEL:
        return
    named = set(re.findall(r'"name": "([^"]+)",\s+"url"', path.read_text(encoding="utf-8")))
    assert named
    # Other tests may have put a file of that name onto the server that they share.
    there = json.dumps(object_info)
    missing = sorted(name for name in named if f'"{name}"' not in there)
    wanted = json.dumps(missing, separators=(",", ":"))
    page.wait_for(f"({OPEN_MISSING}, JSON.stringify({DOWNLOADS})) === '{wanted}'", 60)
    # The image is there: nothing else is missing.
    assert not page.evaluate("document.body.innerText.includes('Missing Inputs')")


@pytest.mark.parametrize("typed", WANTED)
def test_the_pages_search_finds_what_a_user_wants(page: Browser, typed: str) -> None:
    found = page.evaluate(f"{SEARCH % typed}.map(node => [node.name, node.display_name])")
    ours = [names for names in found if any("DynamiCrafter" in name for name in names)]
    seen = ours[: PLACES.get(typed, 3)]
    assert {name for names in seen for name in names} & set(WANTED[typed]), ours[:6]


def inputs_of(prompt: dict[str, Any]) -> dict[str, Any]:
    return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprint_is_offered_and_opens_whole(
    page: Browser, path: Path, object_info: dict[str, Any]
) -> None:
    page.wait_for(f"{SEARCH % path.stem}.some(node => node.display_name === {path.stem!r})")
    blueprint = json.loads(path.read_text(encoding="utf-8"))
    (shown,) = load(page, path)["nodes"]
    offers_what_is_missing(page, path, object_info)
    (instance,) = blueprint["nodes"]
    widgets = [entry["name"] for entry in instance["inputs"] if "widget" in entry]
    assert list(shown["values"]) == widgets
    prompt = page.evaluate("app.graphToPrompt().then(p => p.output)")
    assert inputs_of(prompt) == inputs_of(to_api(blueprint, object_info))
    nothing_overlaps(page)
    page.evaluate(INSIDE)
    nothing_overlaps(page)
    page.evaluate("app.canvas.setGraph(app.graph); 0")


def test_help_panel_shows_the_help_page(page: Browser) -> None:
    load(page, ROOT / "workflows" / file_name("animate"))
    node_id = "DynamiCrafterVisualDetailGuidance"
    page.evaluate(
        f"app.canvas.selectNode(app.graph.nodes.find(node => node.type === '{node_id}')); 0"
    )
    page.wait_for("document.querySelector('[data-testid=info-button]')")
    page.evaluate("document.querySelector('[data-testid=info-button]').click()")
    tip = "Fewer than 16 frames: generate 16 and trim."
    assert tip in (ROOT / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
    page.wait_for(f"document.body.innerText.includes('{tip}')")


def test_page_in_chinese(browser: Browser, server: ComfyServer) -> None:
    texts = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    open_page(browser, server, **{"Comfy.Locale": "zh"})
    titles = browser.evaluate(
        "Object.fromEntries(Object.entries(LiteGraph.registered_node_types)"
        ".filter(([id]) => id.startsWith('DynamiCrafter')).map(([id, t]) => [id, t.title]))"
    )
    assert titles == {node_id: text["display_name"] for node_id, text in texts.items()}
    # The heading of the templates, where the pack lies in the folder that ComfyUI-Manager makes.
    category = "templateWorkflows.category.dynamicrafter-nodes"
    assert "DynamiCrafter\uff08" in browser.evaluate(f"{TRANSLATE}({category!r})")
