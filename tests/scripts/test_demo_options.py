from pathlib import Path

import demo
import demo_options
import pytest
from demo_options import (
    EMBEDDED,
    MORE_FILES,
    DemoError,
    check_output,
    check_workflow,
    parse,
    workflow_name,
)
from embedded_examples import EXAMPLES
from safetensors import safe_open
from shipped.names import TITLES


def test_an_output_folder_that_may_not_be_written_to_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(demo_options.os, "access", lambda path, _: path != tmp_path)
    with pytest.raises(DemoError, match=f"--output: {tmp_path} may not be written to"):
        check_output(tmp_path / "new" / "output")
    monkeypatch.undo()
    check_output(tmp_path / "new" / "output")
    check_output(Path("relative/output"))
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_checkpoint_has_all_five_parts():
    assert EMBEDDED.stat().st_size < 60e6
    with safe_open(EMBEDDED, framework="numpy") as file:
        parts = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
    assert {"model", "first_stage_model", "cond_stage_model", "embedder"} < parts
    assert "image_proj_model" in parts


def test_every_workflow_is_run_or_refused_in_one_line():
    """The embedded model gets images and words of its world, or the demo says what is missing."""
    for short in TITLES:
        if short in EXAMPLES and short not in MORE_FILES:
            check_workflow(short, None)
            continue
        with pytest.raises(DemoError) as refused:
            check_workflow(short, None)
        assert short in str(refused.value) and "\n" not in str(refused.value)
        if short in MORE_FILES:
            with pytest.raises(DemoError, match="open it in ComfyUI"):
                check_workflow(short, Path("a.ckpt"))
        else:
            check_workflow(short, Path("a.ckpt"))


def test_workflows_go_by_short_name_title_or_file_name(capsys: pytest.CaptureFixture[str]):
    for name in ("loop", "Seamless loop", "DynamiCrafter - Seamless loop.json"):
        assert workflow_name(name) == "loop"
    with pytest.raises(SystemExit):
        parse(["--help"], demo.__doc__ or "")
    shown = capsys.readouterr().out
    assert [short for short in TITLES if f"\n  {short} " not in shown] == []
