"""Writes what the help pages in web/docs/ repeat: description, inputs and outputs of each node.

    python3 scripts/write_help.py

English sentences come from the nodes, those of outputs from locales/en; Chinese ones from
locales/zh. All other parts of a page are written by hand and stay. Needs Python 3.10 or newer;
starts the newest supported ComfyUI for a list of its nodes.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from comfyui.server import ComfyServer
from comfyui.setup import PACK, find_host


class Language(NamedTuple):
    """Headings and signs of one language."""

    inputs: str
    outputs: str
    optional: str
    empty: str
    brackets: str
    colon: str

    def line(self, name: str, note: str, text: str) -> str:
        """One entry of a list."""
        left, right = self.brackets.split("|")
        return f"- `{name}`{left + note + right if note else ''}{self.colon}{text}"


LANGUAGES = {
    "en": Language("Inputs", "Outputs", "optional", "empty", " (|)", ": "),
    "zh": Language("输入", "输出", "可选", "空", "（|）", "："),  # noqa: RUF001 - Chinese signs
}


def main() -> int:
    """Returns the exit status."""
    host = find_host(None)
    with ComfyServer(host.comfyui, packs=[PACK], python=host.python) as server:
        object_info = server.object_info()
    for path, text in pages(object_info, PACK).items():
        if (PACK / path).read_text(encoding="utf-8") != text:
            (PACK / path).write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 0


def pages(object_info: dict[str, Any], root: Path) -> dict[Path, str]:
    """Every help page below `root` as it should be, by its path from there."""
    written = {}
    for code, language in LANGUAGES.items():
        file = root / "locales" / code / "nodeDefs.json"
        texts = json.loads(file.read_text(encoding="utf-8"))
        for node_id, info in object_info.items():
            if node_id.startswith("DynamiCrafter"):
                path = help_path(node_id, code)
                page = (root / path).read_text(encoding="utf-8")
                written[path] = refreshed(page, info, texts[node_id], language)
    return written


def help_path(node_id: str, code: str) -> Path:
    """Where the host looks for a node's help, from the pack's folder."""
    folder = Path("web", "docs")
    return folder / f"{node_id}.md" if code == "en" else folder / node_id / f"{code}.md"


def refreshed(page: str, info: dict[str, Any], texts: dict[str, Any], language: Language) -> str:
    """`page` with title, description and lists of a node, as the host describes it.

    texts: what the translation has of the node.
    """
    rest = page.split("\n\n", 2)[2]
    description = texts.get("description", info["description"])
    title = f"# {texts.get('display_name', info['display_name'])}"
    rest = _with_list(rest, language.inputs, _inputs(info, texts, language))
    rest = _with_list(rest, language.outputs, _outputs(info, texts, language))
    return "\n\n".join([title, description, rest])


def _with_list(page: str, heading: str, lines: list[str]) -> str:
    """`page` with `lines` as the section under `heading`."""
    section = re.compile(rf"(?<=\n## {heading}\n\n).*?(?=\n\n## |\n*\Z)", re.DOTALL)
    return section.sub(lambda _: "\n".join(lines), page, count=1)


def _inputs(info: dict[str, Any], texts: dict[str, Any], language: Language) -> list[str]:
    lines = []
    for group in ("required", "optional"):
        for name, (_, *settings) in info["input"].get(group, {}).items():
            values = settings[0] if settings else {}
            said = texts.get("inputs", {}).get(name, values)
            note = _default(values, language) or (language.optional if group == "optional" else "")
            lines.append(language.line(name, note, said["tooltip"]))
    return lines


def _outputs(info: dict[str, Any], texts: dict[str, Any], language: Language) -> list[str]:
    said = texts["outputs"]
    return [
        language.line(name, "", said[str(i)]["tooltip"])
        for i, name in enumerate(info["output_name"])
    ]


def _default(values: dict[str, Any], language: Language) -> str:
    """The value that an input begins with, empty where it has none or a long one."""
    value = values.get("default")
    if value is None or values.get("multiline"):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return (f"{value:g}" if isinstance(value, int | float) else value) or language.empty


if __name__ == "__main__":
    sys.exit(main())
