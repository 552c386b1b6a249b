"""Across the pack: the registry's rules, by the syntax tree of every file that the host loads."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    ROOT / "__init__.py",
    *sorted((ROOT / "nodes").rglob("*.py")),
    *sorted((ROOT / "dc_model").rglob("*.py")),
]

# Built-in functions that run text as code, or write to the terminal.
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "print", "input", "breakpoint"}
# Processes, installers, network, and loaders that run code.
FORBIDDEN_MODULES = {
    *("subprocess", "multiprocessing", "pty", "pip", "ensurepip", "setuptools", "venv"),
    *("socket", "ssl", "http", "urllib", "ftplib", "smtplib", "requests", "httpx", "aiohttp"),
    *("websockets", "huggingface_hub", "ctypes", "marshal", "shelve", "runpy", "code", "site"),
    *("importlib", "webbrowser", "signal", "sys"),
}
FORBIDDEN_ATTRIBUTES = {
    *("os.system", "os.popen", "os.environ", "os.putenv", "os.unsetenv", "os.getenv", "os.chdir"),
    *("os.kill", "os.fork", "os.remove", "os.unlink", "pickle.load", "pickle.loads"),
    *("torch.hub", "torch.manual_seed", "torch.set_num_threads", "torch.set_default_dtype"),
    *("torch.set_default_device", "torch.compile"),
}
FORBIDDEN_PREFIXES = ("os.exec", "os.spawn", "torch.backends.")
# Calls that may stand outside of functions: they make constants.
CONSTANTS = {
    *("io.Custom", "logging.getLogger", "field", "frozenset", "dict.fromkeys", "bytes.fromhex"),
}
DECLARATIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(source: str) -> list[str]:
    """What a file does that no pack may do."""
    tree = ast.parse(source)
    found = [
        f"imports {name}"
        for name in imported(tree)
        if name.split(".")[0] in FORBIDDEN_MODULES or name in FORBIDDEN_ATTRIBUTES
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in FORBIDDEN_CALLS:
            found.append(f"calls {dotted(node.func)}")
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.load":
            safe = [k for k in node.keywords if k.arg == "weights_only"]
            if not (safe and isinstance(safe[0].value, ast.Constant) and safe[0].value.value):
                found.append("calls torch.load without weights_only")
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            if name in FORBIDDEN_ATTRIBUTES or name.startswith(FORBIDDEN_PREFIXES):
                found.append(f"uses {name}")
        if isinstance(node, ast.Global):
            found.append(f"changes the global {', '.join(node.names)}")
    return found


def work_at_import(source: str) -> list[str]:
    """Statements that do more than declare when a file is imported."""
    tree = ast.parse(source)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return list(_work(tree.body, CONSTANTS | functions))


def _work(body: list[ast.stmt], allowed: set[str]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _work(statement.body, allowed)
        elif isinstance(statement, ast.If):
            yield from _work([*statement.body, *statement.orelse], allowed)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            for call in _calls(statement):
                name = dotted(call.func)
                is_class = name.split(".")[-1].lstrip("_")[:1].isupper()
                if name not in allowed and not is_class and not name.endswith("._replace"):
                    yield f"line {call.lineno}: calls {name or 'something'}"
        elif not isinstance(statement, DECLARATIONS) and not _is_docstring(statement):
            yield f"line {statement.lineno}: {type(statement).__name__}"


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Calls that run with `node` itself; those in a lambda run later."""
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_forbidden_calls(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_work_at_import(path: Path) -> None:
    assert work_at_import(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "exec('x = 1')",
        "print('loaded')",
        "__import__('os')",
        "import subprocess",
        "from urllib.request import urlopen",
        "import pip",
        "import os\nos.environ['A'] = '1'",
        "import os\nos.system('ls')",
        "from os import system",
        "import torch\ntorch.load('a')",
        "import torch\ntorch.load('a', weights_only=False)",
        "import torch\ntorch.backends.cudnn.benchmark = True",
        "import requests",
        "def f():\n    global a\n    a = 1",
    ],
)
def test_the_rules_find_what_they_forbid(source: str) -> None:
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.zeros(4)",
        "import torch\nX = torch.zeros(4)",
        "for i in range(3):\n    pass",
        "class A:\n    names = list_files()",
        "with open('a') as f:\n    pass",
        "X = open('a').read()",
    ],
)
def test_work_at_import_is_found(source: str) -> None:
    assert work_at_import(source)
