"""Files that were changed at random are converted or refused in words."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import foreign_workflows as theirs
import pytest
from comfyui.workflow_api import WorkflowError
from converter.convert import convert
from converter.graph import read, write

VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 2, 99, 2**70, 0.5, float("inf"), "", "1", "²", "image", "ImageBatch"),
    *([], [1], [1, 2], ["1", "x"], ["1", 0], [[]], {}, {"0": 1}, {"id": 1}, {"name": "image"}),
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a tree with each of its keys."""
    if isinstance(value, dict | list):
        for key in [*value] if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def changed(data: Any, draw: random.Random) -> Any:
    """With one to three values deleted, replaced by others, or by another part of the file."""
    data = copy.deepcopy(data)
    for _ in range(draw.randint(1, 3)):
        found = [*places(data)]
        if not found:
            break
        container, key = draw.choice(found)
        match draw.randrange(3):
            case 0:
                del container[key]
            case 1:
                container[key] = copy.deepcopy(draw.choice(VALUES))
            case _:
                other, place = draw.choice(found)
                container[key] = copy.deepcopy(other[place])
    return data


def as_prompt(data: Any) -> Any:
    graph = read(data)
    graph.page = False
    return write(graph)


@pytest.mark.parametrize("name", theirs.EVERY)
@pytest.mark.parametrize("page", [True, False])
def test_a_changed_workflow_is_converted_or_refused(name: str, page: bool) -> None:
    data = theirs.EVERY[name].saved()
    data = data if page else as_prompt(data)
    draw = random.Random(f"{name} {page}")
    converted = 0
    for _ in range(200):
        spoiled = changed(data, draw)
        before = json.dumps(spoiled)
        try:
            graph = read(spoiled)
            if convert(graph):
                read(json.loads(json.dumps(write(graph))))
                converted += 1
        except WorkflowError:
            pass
        except Exception as error:
            raise AssertionError(before) from error
    assert converted > 50
