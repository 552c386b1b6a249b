"""Writes every file in workflows/ and subgraphs/ from its description in scripts/shipped/.

    python3 scripts/write_workflows.py

Needs Python 3.10 or newer; starts the newest supported ComfyUI for a list of its nodes. Files that
nothing describes any more are removed.
"""

import sys
from pathlib import Path

from comfyui.server import ComfyServer
from comfyui.setup import PACK, find_host
from shipped.catalog import contents
from shipped.sheet import ObjectInfo


def main() -> int:
    """Returns the exit status."""
    host = find_host(None)
    with ComfyServer(host.comfyui, packs=[PACK], python=host.python) as server:
        object_info = server.object_info()
    for line in write(object_info, PACK):
        print(line)
    return 0


def write(object_info: ObjectInfo, root: Path) -> list[str]:
    """Writes the files below `root`; a line for each that changed."""
    wanted = contents(object_info)
    changed = []
    for path, text in wanted.items():
        target = root / path
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
            changed.append(f"wrote {path}")
    for folder in ("workflows", "subgraphs"):
        for path in sorted((root / folder).glob("*.json")):
            if path.relative_to(root) not in wanted:
                path.unlink()
                changed.append(f"removed {path.relative_to(root)}")
    return changed


if __name__ == "__main__":
    sys.exit(main())
