"""API-format prompts, written as code."""

from typing import Any

Link = list[Any]


class Graph:
    """Collects nodes: `g.add("KSampler", model=m[0], ...)[0]` is that node's first output."""

    def __init__(self) -> None:
        self.prompt: dict[str, dict[str, Any]] = {}

    def add(self, class_type: str, **inputs: Any) -> "Node":
        """A node; inputs are values or outputs of other nodes; None leaves an input out."""
        name = str(len(self.prompt) + 1)
        given = {k: v for k, v in inputs.items() if v is not None}
        self.prompt[name] = {"class_type": class_type, "inputs": given, "_meta": {"title": name}}
        return Node(name)


class Node:
    """A node of a graph; indexing gives its outputs."""

    def __init__(self, name: str):
        self.name = name

    def __getitem__(self, output: int) -> Link:
        return [self.name, output]
