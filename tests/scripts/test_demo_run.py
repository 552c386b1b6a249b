from pathlib import Path

from demo_run import free_stem


def test_results_get_the_first_free_number(tmp_path: Path):
    assert free_stem(tmp_path, "a.b") == tmp_path / "a.b-0001"
    (tmp_path / "a.b-0001.webp").write_text("")
    (tmp_path / "a.b-0002.mp4").write_text("")
    assert free_stem(tmp_path, "a.b") == tmp_path / "a.b-0003"
