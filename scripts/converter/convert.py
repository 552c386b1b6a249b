"""The whole conversion: every node of another pack, step by step."""

from converter import chains, work
from converter.graph import Graph
from converter.packs import FOREIGN, Role, role
from converter.sources import BATCHES
from converter.work import Work

STEPS = (
    (work.load, {Role.LOADER}),
    (work.load_encoder, {Role.CLIP, Role.VISION}),
    (chains.video, {Role.VIDEO}),
    (chains.latent, {Role.LATENT}),
    (chains.chain, {Role.CHAIN}),
    (chains.patch, {Role.PATCH}),
    (work.hand_on, {Role.LOADER}),
    (work.resize, {Role.RESIZE}),
    (work.save, {Role.SAVE}),
)
BESIDE = {Role.RESIZE, Role.SAVE}  # Nodes of packs that have nothing to do with the model.


def convert(graph: Graph) -> int:
    """Puts our nodes in place of those of other packs; how many of theirs there were.

    `graph.lost` says what could not be carried over. Without a node for one of the models the
    graph stays as it is.
    """
    foreign = [node for node in graph.nodes.values() if node.type in FOREIGN]
    count = sum(role(node.type) not in BESIDE for node in foreign)
    if not count:
        return 0
    made = Work(graph, {})
    for step, roles in STEPS:
        for node in foreign:
            if role(node.type) in roles:
                step(made, node)
    _leave_out(graph, {node.id for node in foreign})
    return count


def _leave_out(graph: Graph, gone: set[str]) -> None:
    """Removes nodes, and the batches that fed nothing else."""
    fed = {link.node for node in graph.nodes.values() for link in node.links.values()}
    graph.remove(gone)
    for node in [*graph.nodes.values()]:
        if node.type in BATCHES and node.id in fed and not any(graph.consumers(node.id)):
            graph.remove({node.id})
