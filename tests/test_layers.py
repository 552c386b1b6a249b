"""Across the folders: the model knows no host, nobody but the host loads nodes, no circles."""

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOST = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "latent_preview", "node_helpers"}

# A folder and those of the project's other folders, or modules in them, that it may import.
MAY_IMPORT: dict[str, set[str]] = {
    "dc_model": set(),
    "nodes": {"dc_model"},
    "training": {"dc_model"},
    "evaluation": {"dc_model", "training", "scripts.comfyui"},
    "research": {
        *("dc_model", "training", "evaluation"),
        *("scripts.comfyui", "scripts.embedded_examples", "scripts.shipped.names"),
    },
    "scripts": {"research"},
    "benchmarks": {"dc_model"},
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, typing_too: bool = True) -> Iterator[str]:
    """Absolute names of the modules, or of what is in them, that a file imports.

    typing_too: also those that only type checkers see.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set() if typing_too else set(_for_typing(tree))
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            before = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*before, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _for_typing(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (id(child) for child in ast.walk(node))


def test_every_folder_with_code_is_a_layer() -> None:
    found = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests"}
    assert found <= MAY_IMPORT.keys()


def is_part(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_layers_import_only_what_is_below(folder: str) -> None:
    forbidden = MAY_IMPORT.keys() - MAY_IMPORT[folder] - {folder}
    if folder != "nodes":
        forbidden |= HOST
    faults = {
        (path.relative_to(ROOT).as_posix(), name.rpartition(".")[0])
        for path in sources(folder)
        for name in imported(path)
        if name.split(".")[0] in forbidden and not is_part(name, MAY_IMPORT[folder])
    }
    assert faults == set()


@pytest.mark.parametrize("folder", [f for f in MAY_IMPORT if f != "scripts"])
def test_no_module_imports_itself_through_others(folder: str) -> None:
    files = {module_name(path): path for path in sources(folder)}
    graph = {name: _own(files, path) - {name} for name, path in files.items()}
    assert circle(graph) is None


def test_the_parts_of_the_model_have_an_order() -> None:
    """Folders of `dc_model` as a whole: what is above is never needed below."""
    files = {module_name(path): path for path in sources("dc_model")}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        if name != "dc_model":  # the map re-exports all
            graph.setdefault(_part(name), set()).update(_part(n) for n in _own(files, path))
    assert circle({part: needs - {part, "dc_model"} for part, needs in graph.items()}) is None


def test_the_host_s_adapters_need_no_node() -> None:
    files = {module_name(path): path for path in sources("nodes")}
    stages = {n for n, p in files.items() if "\nNODES = [" in p.read_text(encoding="utf-8")}
    assert stages
    for name, path in files.items():
        if name.startswith("nodes.host"):
            assert _own(files, path) & stages == set(), name


def _own(files: Mapping[str, Path], path: Path) -> set[str]:
    names = imported(path, typing_too=False)
    return {n if n in files else n.rpartition(".")[0] for n in names} & files.keys()


def _part(name: str) -> str:
    return ".".join(name.split(".")[:2])


def circle(graph: Mapping[str, set[str]]) -> list[str] | None:
    """Names along a circle of a graph, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_circles_are_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) or ()) == {"a", "b", "c"}


def executes() -> list[tuple[str, ast.FunctionDef]]:
    """Every node's `execute`."""
    return [
        (f"{path.stem}.{part.name}", entry)
        for path in sorted((ROOT / "nodes").glob("*.py"))
        for part in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(part, ast.ClassDef)
        for entry in part.body
        if isinstance(entry, ast.FunctionDef) and entry.name == "execute"
    ]


@pytest.mark.parametrize("node", executes(), ids=lambda node: node[0])
def test_a_node_hands_its_work_to_functions(node: tuple[str, ast.FunctionDef]) -> None:
    """Whatever is in `execute` can neither be called by others nor tested without the schema."""
    _, execute = node
    lines = (execute.end_lineno or 0) - execute.body[0].lineno + 1
    assert lines <= 15
    assert not any(isinstance(part, ast.Raise | ast.For) for part in ast.walk(execute))


def test_no_node_calls_another() -> None:
    """By position and bool, a node's new input would shift the meaning of the others."""
    for path in (ROOT / "nodes").glob("*.py"):
        calls = re.findall(r"\b(\w+)\.execute\(", path.read_text(encoding="utf-8"))
        assert calls == [], path.name
