"""Across the pages: every reference resolves, its heading too; sources of code are in `docs/`.

This is about texts, so no module has its name.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KINDS = {".py", ".md", ".yaml", ".yml", ".toml", ".cff"}
# Links of Markdown and of HTML in it, then pages that are named from the root, as in docstrings.
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
PAGE = re.compile(
    r"(?<![\w/.-])((?:docs/[\w/]+|README|CONTRIBUTING|CHANGELOG|SECURITY)\.md)(#[\w-]+)?"
)
# Files and modules that a page names without a link.
NAMED = re.compile(
    r"(?<![\w/.~-])((?:assets|benchmarks|dc_model|docs|evaluation|locales|nodes|research|scripts|tests"
    r"|training|web|workflows)/[\w./-]*[\w/])"
)
MODULE = re.compile(r"-m ((?:evaluation|research|training)[\w.]*\w)")
# Papers and public pages are sources; files that no reader has are not.
UNREADABLE = re.compile(
    r"(?<!github\.com/)\bspec/|\bspec section|\b[Cc]ontract, [\"A-Z]|\.\./shared"
)


def texts() -> list[Path]:
    """Files of the project that a person reads; goldens are data."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [p for p in paths if p.suffix in KINDS and p.is_file() and p != Path(__file__)]


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"(?ms)^```.*?^```", "", page)


def anchors(page: str) -> set[str]:
    """Names that GitHub gives to a page's headings."""
    found: list[str] = []
    for title in re.findall(r"(?m)^#{1,6} +(.+?) *$", prose(page)):
        text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        taken = sum(
            name == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", name) is not None
            for name in found
        )
        found.append(f"{slug}-{taken}" if taken else slug)
    return set(found)


def references(path: Path) -> Iterator[tuple[Path, str]]:
    """(file, heading or "") of everything local that a file points to."""
    text = path.read_text(encoding="utf-8")
    help_pages = ROOT / "web" / "docs"
    # ComfyUI's page finds pictures from there, in whatever language.
    base = help_pages if help_pages in path.parents else path.parent
    if path.suffix == ".md":
        for markdown, html in LINK.findall(prose(text)):
            target = markdown or html
            if not re.match(r"[a-z]+:", target):
                name, _, heading = target.partition("#")
                yield (base / name if name else path), heading
        text = LINK.sub("", text)
    for name, heading in PAGE.findall(text):
        yield ROOT / name, heading.removeprefix("#")


def broken(path: Path) -> list[str]:
    found = []
    for target, heading in references(path):
        if not target.exists():
            found.append(f"{target} does not exist")
        elif heading and heading not in anchors(target.read_text(encoding="utf-8")):
            found.append(f"{target.name} has no heading #{heading}")
    return found


def missing_names(page: str) -> list[str]:
    """Files and modules that a page names and the project does not have."""
    found = [name for name in NAMED.findall(page) if not (ROOT / name).exists()]
    for name in MODULE.findall(page):
        path = ROOT / name.replace(".", "/")
        if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file():
            found.append(name)
    return found


def test_every_reference_resolves() -> None:
    faults = {str(p.relative_to(ROOT)): faults for p in texts() if (faults := broken(p))}
    assert faults == {}


def test_pages_name_files_that_exist() -> None:
    pages = [p for p in texts() if p.suffix == ".md" and p.name != "CHANGELOG.md"]
    faults = {
        str(p.relative_to(ROOT)): faults
        for p in pages
        if (faults := missing_names(p.read_text(encoding="utf-8")))
    }
    assert faults == {}


def test_sources_can_be_read() -> None:
    cited = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNREADABLE.search(line)
    ]
    assert cited == []


def test_the_method_is_cited() -> None:
    """The pages are the code's sources, not a second description beside it."""
    code = [p for p in texts() if p.suffix == ".py" and p.parts[len(ROOT.parts)] == "dc_model"]
    cited = {t.name for p in code for t, heading in references(p) if heading}
    assert cited >= {"method.md", "differences.md"}


def test_anchors_are_github_s() -> None:
    page = "# A `b` c: d\n## Two  words\n## Two words\n### 0.2.0 (not released)\n```\n# code\n```\n"
    assert anchors(page) == {"a-b-c-d", "two--words", "two-words", "020-not-released"}
    assert anchors("# Same\n# Same\n# Same\n") == {"same", "same-1", "same-2"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](nowhere.md)", "does not exist"),
        ("[a](method.md#nowhere)", "no heading"),
        ("Source: docs/method.md#nowhere", "no heading"),
        ("Source: docs/nowhere.md", "does not exist"),
        ("[a](method.md#ddim), [b](https://example.org/c.md#d)", ""),
    ],
)
def test_broken_references_are_found(
    text: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "method.md").write_text("## DDIM\n", encoding="utf-8")
    page = tmp_path / "docs" / "page.md"
    page.write_text(text, encoding="utf-8")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    found = broken(page)
    assert [fault in f for f in found] == ([True] if fault else [])
