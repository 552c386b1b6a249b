"""ComfyUI's own page, opened with chosen settings."""

from typing import Any

from .browser import Browser, PromiseDroppedError
from .server import ComfyServer

SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False}


def open_page(browser: Browser, server: ComfyServer, **settings: Any) -> None:
    """Loads the page again with these settings and waits until it has the pack's nodes."""
    for name, value in {**SETTINGS, "Comfy.Locale": "en", **settings}.items():
        server._request(f"/api/settings/{name}", value)
    browser.open(server.url)
    ready = "LiteGraph.registered_node_types['DynamiCrafterSampler']"
    browser.wait_for(f"window.app?.graph && window.LiteGraph && {ready} && app.canvas?.canvas")


LOAD = """(async graph => {
  const tabs = app.extensionManager?.workflow, before = tabs?.activeWorkflow;
  await app.loadGraphData(graph);
  if (before && before !== tabs.activeWorkflow) await tabs.closeWorkflow(before);
})(%s)"""


def load_graph(browser: Browser, graph: str) -> None:
    """Opens a workflow, given as JSON, and closes the tab in front: each more slows the page."""
    try:
        browser.evaluate(LOAD % graph)
    except PromiseDroppedError:
        # On a busy machine the page may give a load up without a word. Like a user, open it again.
        browser.evaluate(LOAD % graph)
