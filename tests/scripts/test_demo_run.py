from pathlib import Path

import pytest
from demo_run import free_stem


@pytest.mark.parametrize("name", ["a.b", "sq[1]", "[!a]", "a*"])
def test_results_get_the_first_free_number(tmp_path: Path, name: str):
    assert free_stem(tmp_path, name) == tmp_path / f"{name}-0001"
    (tmp_path / f"{name}-0001.webp").write_text("")
    (tmp_path / f"{name}-0002.mp4").write_text("")
    (tmp_path / "other-0003.mp4").write_text("")
    assert free_stem(tmp_path, name) == tmp_path / f"{name}-0003"
