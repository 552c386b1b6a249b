"""The pictures of the help pages."""

import re
from pathlib import Path

import draw_help
import draw_thumbnails
from PIL import Image
from shipped.names import file_name
from write_help import LANGUAGES, help_path


def test_pictures_are_small_and_of_nodes_that_a_workflow_shows(root: Path) -> None:
    shown = {node_id for ids in draw_help.shown_by().values() for node_id in ids}
    drawn = {path.stem: path for path in draw_help.FOLDER.iterdir()}
    assert len(drawn) > 15 and set(drawn) <= shown
    for path in drawn.values():
        assert path.stat().st_size < draw_help.MOST, path.name
        with Image.open(path) as image:
            assert image.format == "WEBP" and image.width > 300


def test_every_language_shows_it(root: Path) -> None:
    for path in draw_help.FOLDER.iterdir():
        for language in LANGUAGES:
            page = (root / help_path(path.stem, language)).read_text(encoding="utf-8")
            assert re.findall(r"!\[.+\]\((images/.+)\)", page) == [f"images/{path.name}"]


def test_node_and_video_stand_side_by_side(tmp_path: Path) -> None:
    node = Image.new("RGB", (600, 300), "red")
    video = (draw_thumbnails.PACK / "workflows" / file_name("animate")).with_suffix(".jpg")
    written = tmp_path / "node.webp"
    written.write_bytes(draw_help.small(node, video))
    assert written.stat().st_size < draw_help.MOST
    with Image.open(written) as image:
        assert image.width == draw_help.ROOM[0] + draw_help.EDGE + draw_help.VIDEO
        assert getattr(image, "n_frames", 1) > 4
