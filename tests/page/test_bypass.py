"""Across the nodes: Ctrl-B in ComfyUI's own page, and what each output then hands on."""

import json
from typing import Any

import pytest
from comfyui.browser import Browser
from comfyui.server import ComfyServer

pytestmark = [pytest.mark.server, pytest.mark.slow]

# Node, every input fed by a node of its own, every output led to one; then the prompt. Answers
# with the name of the input that fed each consumer (null: nothing), by the output's name.
WIRE = """(async ({ node_id, sources, consumers, inside }) => {
  const graph = app.graph;
  graph.clear();
  const add = (type) => {
    const node = LiteGraph.createNode(type);
    graph.add(node);
    return node;
  };
  const node = add(node_id);
  const fed = {}, led = {};
  node.inputs.forEach((input, slot) => {
    if (!sources[input.type]) return;
    const source = add(sources[input.type][0]);
    source.connect(sources[input.type][1], node, slot);
    fed[source.id] = input.name;
  });
  node.outputs.forEach((output, slot) => {
    if (!consumers[output.type]) return;
    const [type, name] = consumers[output.type];
    const consumer = add(type);
    node.connect(slot, consumer, consumer.inputs.findIndex((input) => input.name === name));
    led[consumer.id] = [output.name, name];
  });
  let box = null;
  if (inside) box = graph.convertToSubgraph(new Set([node])).node;
  const bypassed = box ? box.subgraph.nodes[0] : node;
  bypassed.mode = 4;
  const types = () => JSON.stringify([...bypassed.inputs, ...bypassed.outputs].map((s) => s.type));
  const before = types();
  const { workflow, output } = await app.graphToPrompt();
  if (types() !== before) throw new Error("the slots' types have changed");
  if (JSON.stringify(workflow).includes("DC_BYPASS")) throw new Error("the workflow has changed");
  return Object.fromEntries(Object.entries(led).map(([id, [name, input]]) => {
    const link = output[id].inputs[input];
    return [name, Array.isArray(link) ? fed[link[0]] : null];
  }));
})(%s)"""


@pytest.fixture(scope="module")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.object_info()


def inputs_of(info: dict[str, Any]) -> dict[str, str]:
    """Types of the inputs that take a wire, by name."""
    groups = (info["input"].get(group, {}) for group in ("required", "optional"))
    return {name: spec[0] for group in groups for name, spec in group.items()}


@pytest.fixture(scope="module")
def sources(object_info: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """A node and its output slot for every type; of the host where it has one."""
    found: dict[str, tuple[str, int]] = {}
    for node_id in sorted(object_info, key=lambda name: name.startswith("DynamiCrafter")):
        info = object_info[node_id]
        # Nodes whose slots change with what is wired to them are not sources.
        if "COMFY_" in json.dumps(info["input"]):
            continue
        for slot, kind in enumerate(info["output"]):
            found.setdefault(str(kind), (node_id, slot))
    return found


@pytest.fixture(scope="module")
def consumers(object_info: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """A node and its input for every type."""
    found: dict[str, tuple[str, str]] = {}
    for node_id in sorted(object_info, key=lambda name: name.startswith("DynamiCrafter")):
        if "COMFY_" in json.dumps(object_info[node_id]["input"]):
            continue
        for name, kind in inputs_of(object_info[node_id]).items():
            found.setdefault(str(kind), (node_id, name))
    return found


@pytest.mark.parametrize("inside", [False, True], ids=["in the graph", "in a subgraph"])
def test_a_bypassed_node_hands_on_what_its_outputs_mean(
    page: Browser,
    object_info: dict[str, Any],
    sources: dict[str, Any],
    consumers: dict[str, Any],
    inside: bool,
) -> None:
    found, expected = {}, {}
    for node_id, info in object_info.items():
        if not node_id.startswith("DynamiCrafter"):
            continue
        given = inputs_of(info)
        outputs = list(zip(info["output_name"], info["output"], strict=True))
        expected[node_id] = {
            name: name if given.get(name) == kind else None
            for name, kind in outputs
            if kind in consumers
        }
        case = {"node_id": node_id, "sources": sources, "consumers": consumers, "inside": inside}
        found[node_id] = page.evaluate(WIRE % json.dumps(case))
    assert len(found) > 20
    assert found == expected
