"""Turns a workflow made for another DynamiCrafter or ToonCrafter pack into one for this pack.

    python3 scripts/convert_workflow.py THEIRS.json OURS.json

Reads workflows that the page saved and prompts exported for the API, and writes the same kind. The
original stays as it is. Prints what it could not carry over. Needs Python 3.10 or newer, and no
ComfyUI. docs/coming_from_other_packs.md has the tables that it follows.
"""

import json
import sys
from pathlib import Path
from typing import Any

from comfyui.workflow_api import WorkflowError
from converter.convert import convert
from converter.graph import Graph, read, write

USAGE = "python3 scripts/convert_workflow.py THEIRS.json OURS.json"


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    if len(arguments) != 2:
        print(f"Give two files: {USAGE}", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    try:
        graph = converted(source, target)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Wrote {target}.")
    if graph.lost:
        print("Not carried over, or to be checked:")
    for sentence in graph.lost:
        print(f"- {sentence}.")
    return 0


def converted(source: Path, target: Path) -> Graph:
    """Converts a file into another.

    Raises OSError and WorkflowError where a file cannot be read, written or converted.
    """
    if target.exists() and target.samefile(source):
        raise WorkflowError(f"{target} is the workflow itself; give the new one another name.")
    try:
        graph = read(_json(source))
        count = convert(graph)
        text = json.dumps(write(graph), indent=1) if count else ""
    except RecursionError as error:
        raise WorkflowError(
            f"{source} is nested, or its wires run on, over hundreds of levels; give a smaller "
            "workflow."
        ) from error
    if not count:
        raise WorkflowError(
            f"{source} has no node of another DynamiCrafter or ToonCrafter pack; there is nothing "
            "to convert."
        )
    target.write_text(text + "\n", encoding="utf-8")
    return graph


def _json(source: Path) -> Any:
    try:
        return json.loads(source.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # Text that is not UTF-8 and numbers of 5000 digits are, too.
        raise WorkflowError(f"{source} is not JSON: {error}; save the workflow again.") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
