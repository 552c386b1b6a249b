import json
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="the training extra is not installed")

from evaluation.command import EvaluationError
from evaluation.datasets import entries_of, msrvtt_entries, ucf101_entries


def test_ucf101_captions_are_class_names(tmp_path: Path):
    for name in ("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi", "YoYo/v_YoYo_g25_c05.avi"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "YoYo" / "mine.mp4").touch()
    found = {e.key: e.caption for e in ucf101_entries(tmp_path)}
    assert found == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi": "apply eye makeup",
        "YoYo/mine.mp4": "yo yo",
        "YoYo/v_YoYo_g25_c05.avi": "yo yo",
    }
    assert ucf101_entries(tmp_path)[0].open().endswith("v_ApplyEyeMakeup_g01_c02.avi")


def write_msrvtt(folder: Path, videos: int, captions: int) -> None:
    (folder / "all").mkdir()
    for i in range(videos):
        (folder / "all" / f"video{i}.mp4").touch()
    # The last video is annotated but not there; video 0 is a training video.
    sentences = [
        {"video_id": f"video{i}", "caption": f"caption {j} of {i}"}
        for i in range(videos + 1)
        for j in range(captions)
    ]
    listed = [
        {"video_id": f"video{i}", "split": "test" if i else "train"} for i in range(videos + 1)
    ]
    (folder / "data.json").write_text(json.dumps({"videos": listed, "sentences": sentences}))
    (folder / "other.json").write_text("[1]")


def test_msrvtt_takes_test_videos_with_one_drawn_caption(tmp_path: Path):
    write_msrvtt(tmp_path, videos=40, captions=5)
    found = {e.key: e.caption for e in msrvtt_entries(tmp_path, seed=1)}
    assert set(found) == {f"all/video{i}.mp4" for i in range(1, 40)}
    assert all(c.endswith(f" of {k[9:-4]}") for k, c in found.items())
    assert {c.split()[1] for c in found.values()} == set("01234")
    assert {e.key: e.caption for e in msrvtt_entries(tmp_path, seed=1)} == found
    assert {e.key: e.caption for e in msrvtt_entries(tmp_path, seed=2)} != found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "is not JSON"),
        ('{"videos": 5, "sentences": []}', "are not those of MSR-VTT"),
        ('{"videos": [], "sentences": {"a": 1}}', "are not those of MSR-VTT"),
        ('{"videos": [5], "sentences": []}', "are not those of MSR-VTT"),
        ('{"videos": [{"split": "test"}], "sentences": []}', "are not those of MSR-VTT"),
        (
            '{"videos": [{"video_id": [], "split": "test"}], "sentences": []}',
            "are not those of MSR-VTT",
        ),
        ('{"videos": [], "sentences": [{"video_id": "a"}]}', "are not those of MSR-VTT"),
    ],
)
def test_a_json_file_that_cannot_serve_is_named(content: str, found: str, tmp_path: Path):
    write_msrvtt(tmp_path, videos=2, captions=1)
    (tmp_path / "notes.json").write_text(content)
    with pytest.raises(EvaluationError, match=rf"notes\.json.*{found}.*elsewhere"):
        msrvtt_entries(tmp_path, seed=1)


def test_msrvtt_videos_of_one_name_are_refused(tmp_path: Path):
    write_msrvtt(tmp_path, videos=3, captions=1)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "video2.mp4").touch()
    with pytest.raises(EvaluationError, match=r"video2 twice: .*all/video2\.mp4.*copy/video2"):
        msrvtt_entries(tmp_path, seed=1)


def test_a_table_serves_any_protocol(tmp_path: Path):
    (tmp_path / "clips.csv").write_text("path,caption\na.mp4,a boat sails\n")
    (entry,) = entries_of("msrvtt", None, tmp_path / "clips.csv", 0)
    assert (entry.key, entry.caption) == ("a.mp4", "a boat sails")


def test_missing_data_is_named(tmp_path: Path):
    with pytest.raises(EvaluationError, match="either --dataset FOLDER or --table FILE"):
        entries_of("ucf101", None, None, 0)
    with pytest.raises(EvaluationError, match="which does not exist"):
        entries_of("ucf101", tmp_path / "gone", None, 0)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(EvaluationError, match="no JSON file with the test videos"):
        entries_of("msrvtt", tmp_path, None, 0)
