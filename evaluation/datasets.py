"""UCF-101 and MSR-VTT as they are distributed, as lists of captioned videos."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dc_model.shown import shown
from training.data.entries import Entry, as_text, files_below, table_entries

from .command import EvaluationError
from .videos import list_videos

# What each row of MSR-VTT's annotations has.
_KEYS = {"videos": ("video_id",), "sentences": ("video_id", "caption")}
_UCF_NAME = re.compile(r"v_(\w+?)_g\d+_c\d+$")
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


def entries_of(protocol: str, dataset: Path | None, table: Path | None, seed: int) -> list[Entry]:
    """The captioned videos of a data set's folder, or of a table; raises EvaluationError."""
    if (dataset is None) == (table is None):
        raise EvaluationError("Give either --dataset FOLDER or --table FILE.")
    if table is not None:
        _require_path(table, "--table")
        entries = table_entries(table)
    else:
        assert dataset is not None
        _require_path(dataset, "--dataset")
        readers = {"ucf101": ucf101_entries, "msrvtt": lambda f: msrvtt_entries(f, seed)}
        entries = readers[protocol](dataset)
    if not entries:
        raise EvaluationError(f"{table or dataset} names no videos; check its contents.")
    return entries


def ucf101_entries(folder: Path) -> list[Entry]:
    """Every video below a folder; the caption is its class: "ApplyEyeMakeup" is "apply eye makeup".

    The class stands in the file's name, `v_CLASS_gNN_cNN.avi`, or is the folder that it lies in.
    """
    return [_entry(video, folder, _class_name(video)) for video in list_videos(folder)]


def _class_name(video: Path) -> str:
    match = _UCF_NAME.match(video.stem)
    return _WORD_START.sub(" ", match[1] if match else video.parent.name).lower()


def msrvtt_entries(folder: Path, seed: int) -> list[Entry]:
    """The test videos of MSR-VTT, each with one of its captions, drawn by `seed`.

    The annotations are the JSON files below the folder with "videos" and "sentences"; a video is a
    file of its id's name. Raises EvaluationError when there are none, or two of one name.
    """
    captions: dict[str, list[str]] = {}
    for annotation in _annotations(folder):
        tests = {v["video_id"] for v in annotation["videos"] if v.get("split") == "test"}
        for sentence in annotation["sentences"]:
            if sentence["video_id"] in tests:
                captions.setdefault(sentence["video_id"], []).append(
                    as_text(sentence["caption"], sentence["video_id"])
                )
    if not captions:
        raise EvaluationError(
            f"{shown(folder)} has no JSON file with the test videos and sentences of MSR-VTT; "
            "put the "
            "annotations beside the videos, or give --table."
        )
    files: dict[str, Path] = {}
    for video in list_videos(folder):
        if video.stem in captions and (other := files.setdefault(video.stem, video)) != video:
            raise EvaluationError(
                f"{shown(folder)} holds {shown(video.stem)} twice: {shown(other)} and "
                f"{shown(video)}; keep one."
            )
    return [_entry(v, folder, _draw(captions[name], name, seed)) for name, v in files.items()]


def _annotations(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in files_below(folder, lambda p: p.suffix == ".json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise EvaluationError(
                f"{shown(path)} is not JSON ({shown(error)}); download it again, or keep it "
                "elsewhere if it is not of MSR-VTT."
            ) from error
        if not isinstance(content, dict) or not _KEYS.keys() <= content.keys():
            continue
        if not all(_are_rows(content[part], keys) for part, keys in _KEYS.items()):
            raise EvaluationError(
                f"The videos and sentences in {shown(path)} are not those of MSR-VTT, which "
                "are lists with video_id and caption; download it again, or keep it elsewhere."
            )
        yield content


def _are_rows(rows: object, keys: Sequence[str]) -> bool:
    """Whether these are mappings with these keys and a name of a video."""
    return isinstance(rows, list) and all(
        isinstance(row, dict) and row.keys() >= set(keys) and isinstance(row["video_id"], str)
        for row in rows
    )


def _draw(captions: Sequence[str], video: str, seed: int) -> str:
    state = (seed, *video.encode())
    return captions[int(np.random.default_rng(state).integers(len(captions)))]


def _entry(video: Path, folder: Path, caption: str) -> Entry:
    return Entry(video.relative_to(folder).as_posix(), caption, lambda: str(video))


def _require_path(path: Path, option: str) -> None:
    if not path.exists():
        raise EvaluationError(f"{option} is {shown(path)}, which does not exist; check the path.")
