"""How the server takes a prompt that tests its patience: one clear sentence or a correct run.

Every prompt is also bounded in the time and the memory that it may take, and finds the server alive
afterwards.
"""

import contextlib
from collections.abc import Iterator

from comfyui.client import PromptError
from graphs import Graph, Link
from memory import peak_memory, process_of, processor_time, reset_peak_memory
from studio import PATIENCE, Animation, Studio
from torch import Tensor

# Seconds of the server's own computing, most of them for what is done in a fraction of one. Other
# programs on the machine do not count.
COMPUTING_LIMIT = 60.0
MEMORY_LIMIT = 2 * 1024**3
OWN_ERRORS = ("InputError", "CheckpointError")
NAN, INF = float("nan"), float("inf")


@contextlib.contextmanager
def bounded(studio: Studio) -> Iterator[None]:
    """Fails when what the server does meanwhile is too much, or ends it."""
    process = process_of(studio.server)
    reset_peak_memory(process)
    memory, computed = peak_memory(process), processor_time(process)
    try:
        yield
    finally:
        assert studio.server.system_stats()["devices"]
        assert processor_time(process) - computed < COMPUTING_LIMIT
        assert peak_memory(process) - memory < MEMORY_LIMIT


def outcome(studio: Studio, graph: Graph, *links: Link) -> PromptError | None:
    """How the server takes a prompt: None for a run to its end, else the error."""
    for i, link in enumerate(links):
        graph.add("TestSave", value=link, name=f"unused-{i}")
    with bounded(studio):
        try:
            studio.server.prompt(graph.prompt, timeout=PATIENCE)
        except PromptError as error:
            return error
    return None


def refused(studio: Studio, graph: Graph, *links: Link) -> str:
    """The message of a refusal: by the server before the run, or by us in one sentence."""
    error = outcome(studio, graph, *links)
    assert error is not None, "the prompt ran"
    if not error.errors:
        assert error.exception_type.endswith(OWN_ERRORS), f"{error.exception_type}: {error}"
        assert error.node_message.endswith(".")
        assert "\n" not in error.node_message
    return str(error)


def runs(studio: Studio, graph: Graph, **links: Link) -> dict[str, dict[str, Tensor]]:
    """The results of a run, all finite."""
    with bounded(studio):
        results = studio.run(graph, **links)
    for tensors in results.values():
        assert all(bool(t.float().isfinite().all()) for t in tensors.values())
    return results


def bare(studio: Studio, graph: Graph) -> Animation:
    """A loaded checkpoint with texts alone."""
    return Animation(studio, graph, studio.small_checkpoint("512")).text("waves")


def decode(graph: Graph, vae: Link, latent: Link) -> Link:
    return graph.add(
        "DynamiCrafterVideoDecode",
        vae=vae,
        samples=latent,
        chunk_frames=0,
        tile_size=0,
        drop_last_frame=False,
    )[0]
