"""Writes what help pages repeat: each node's description, inputs, outputs and workflows.

    python3 scripts/write_help.py

English sentences come from the nodes, those of outputs from locales/en; those of a translation
from its own locale. All other parts of a page are written by hand and stay. Needs Python 3.10 or
newer; starts the newest supported ComfyUI for a list of its nodes.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from comfyui.server import ComfyServer
from comfyui.setup import PACK, find_host

# Workflows that a page names.
MAX_TITLES = 4


class Language(NamedTuple):
    """Headings and signs of one language."""

    inputs: str
    outputs: str
    workflows: str
    more: str
    optional: str
    empty: str
    brackets: str
    colon: str

    def line(self, name: str, note: str, text: str) -> str:
        """One entry of a list."""
        left, right = self.brackets.split("|")
        return f"- `{name}`{left + note + right if note else ''}{self.colon}{text}"


LANGUAGES = {
    "en": Language(
        "Inputs", "Outputs", "Workflows", "and {} more", "optional", "empty", " (|)", ": "
    ),
    "ja": Language("入力", "出力", "ワークフロー", "他 {} 件", "任意", "空", "（|）", "："),  # noqa: RUF001 - Japanese signs
    "ko": Language("입력", "출력", "워크플로", "외 {}개", "선택", "비어 있음", " (|)", ": "),
    "zh": Language("输入", "输出", "工作流", "另有 {} 个", "可选", "空", "（|）", "："),  # noqa: RUF001 - Chinese signs
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
        titles = workflows(root)
        for node_id, info in object_info.items():
            if node_id.startswith("DynamiCrafter"):
                path = help_path(node_id, code)
                page = (root / path).read_text(encoding="utf-8")
                drawn = f"images/{node_id}.webp"
                picture = drawn if (root / "web" / "docs" / drawn).is_file() else ""
                said = texts[node_id], titles[node_id]
                written[path] = refreshed(page, info, *said, language, picture)
    return written


def help_path(node_id: str, code: str) -> Path:
    """Where the host looks for a node's help, from the pack's folder."""
    folder = Path("web", "docs")
    return folder / f"{node_id}.md" if code == "en" else folder / node_id / f"{code}.md"


def workflows(root: Path) -> dict[str, list[str]]:
    """Titles of the workflows that use a node, by its id."""
    found = defaultdict(list)
    for path in sorted((root / "workflows").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        for node_id in set(re.findall(r'"type": ?"(DynamiCrafter\w+)"', text)):
            found[node_id].append(path.stem.removeprefix("DynamiCrafter - "))
    return found


def refreshed(
    page: str,
    info: dict[str, Any],
    texts: dict[str, Any],
    titles: list[str],
    language: Language,
    picture: str = "",
) -> str:
    """`page` with title, description, picture and lists of a node, as the host describes it.

    texts: what the translation has of the node. titles: of its workflows. picture: its address, as
    the page resolves it.
    """
    rest = re.sub(r"\A!\[.*?\]\(images/.*?\)\n\n", "", page.split("\n\n", 2)[2])
    description = texts.get("description", info["description"])
    title = f"# {texts.get('display_name', info['display_name'])}"
    rest = _with_list(rest, language.inputs, _inputs(info, texts, language))
    rest = _with_list(rest, language.outputs, _outputs(info, texts, language))
    rest = _with_workflows(rest, titles, language)
    parts = [title, description, *([f"![{title[2:]}]({picture})"] if picture else []), rest]
    return "\n\n".join(parts)


def _with_list(page: str, heading: str, lines: list[str]) -> str:
    """`page` with `lines` as the section under `heading`."""
    section = re.compile(rf"(?<=\n## {heading}\n\n).*?(?=\n\n## |\n*\Z)", re.DOTALL)
    return section.sub(lambda _: "\n".join(lines), page, count=1)


def _with_workflows(page: str, titles: list[str], language: Language) -> str:
    """`page` with a section on workflows after that on outputs, or without one."""
    page = re.sub(rf"\n## {language.workflows}\n.*?\n(?=\n## |\Z)", "", page, flags=re.DOTALL)
    if not titles:
        return page
    lines = [f"- *{title}*" for title in titles[:MAX_TITLES]]
    if len(titles) > MAX_TITLES:
        lines.append(f"- {language.more.format(len(titles) - MAX_TITLES)}")
    section = "\n".join([f"## {language.workflows}", "", *lines])
    outputs = re.compile(rf"\n## {language.outputs}\n.*?(?=\n\n## |\n*\Z)", re.DOTALL)
    return outputs.sub(lambda m: f"{m[0]}\n\n{section}", page, count=1)


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
