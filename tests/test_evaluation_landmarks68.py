"""Annotated photographs: coordinates land on the pixels they mean, damaged tables are named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from facezoo.data.readers import READERS, open_reader
from facezoo.errors import AssetError, UnknownNameError
from facezoo.evaluation.landmarks68 import GROUPS, FaceResult, _greedy, nme_by_group
from facezoo.types import Face

REAL = (
    Path(os.environ.get("FACEZOO_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data" / "real"
)


def test_pixel_conventions(tmp_path: Path) -> None:
    points = np.arange(136, dtype=float).reshape(68, 2)
    table = {
        "a.jpg": {
            "pts68_3d": [*points.T.tolist(), [0.0] * 68],
            "pts68_reannotated": points.T.tolist(),
            "yaw_deg": 3,
        }
    }
    (tmp_path / "landmarks.json").write_text(json.dumps(table))
    sample = open_reader("aflw2000_9", tmp_path)[0]
    assert torch.allclose(sample.labels["original"], torch.tensor(points - 0.5).float())
    assert sample.yaw_deg == 3
    (tmp_path / "landmarks.json").write_text(json.dumps({"a.jpg": [{"pts68": points.tolist()}]}))
    sample = open_reader("dlib_18", tmp_path)[0]
    assert torch.allclose(sample.labels["original"], torch.tensor(points + 0.5).float())
    assert sample.box.tolist() == [0.5, 1.5, 134.5, 135.5]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"a.jpg": [{}]}', '{"a.jpg": [{"pts68": [[1, 2]]}]}', '{"a.jpg": [{"pts68": "x"}]}'],
)
def test_a_damaged_table_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "landmarks.json").write_text(content)
    with pytest.raises(AssetError, match=r"landmarks\.json|a\.jpg"):
        open_reader("dlib_18", tmp_path)[0]


def test_a_missing_folder_or_name_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="root="):
        open_reader("dlib_18", tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="dlib_18"):
        open_reader("dlib18", tmp_path)


@pytest.mark.parametrize(("name", "count"), [("aflw2000_9", 9), ("dlib_18", 18)])
def test_the_real_files_read(name: str, count: int) -> None:
    if not REAL.is_dir():
        pytest.skip(f"no annotated photographs at {REAL}")
    reader = open_reader(name, REAL)
    assert len(reader) == count
    assert set(READERS) >= {name}
    for i in range(count):
        sample = reader[i]
        assert sample.path.is_file()
        assert bool((sample.box[2:] > sample.box[:2]).all())


def test_the_groups_are_the_68_points_once() -> None:
    covered = [i for first, last in GROUPS.values() for i in range(first, last)]
    assert covered == list(range(68))


def test_nme_is_the_distance_over_the_box(tmp_path: Path) -> None:
    truth = torch.rand(68, 2) * 100
    (tmp_path / "landmarks.json").write_text(json.dumps({"a.jpg": [{"pts68": (truth - 0.5).tolist()}]}))
    sample = open_reader("dlib_18", tmp_path)[0]
    moved = truth.clone()
    moved[:17] += torch.tensor([3.0, 4.0])
    side = float((sample.box[2:] - sample.box[:2]).prod().sqrt())
    row = nme_by_group([FaceResult(sample, Face(sample.box, 1.0, {"ibug68": moved}))], "ibug68", "original")
    assert row["jaw"] == pytest.approx(500 / side, rel=1e-3)
    assert row["mean"] == pytest.approx(500 / side * 17 / 68, rel=1e-2)
    assert row["eye"] == pytest.approx(0, abs=1e-3)
    assert nme_by_group([FaceResult(sample, None)], "ibug68", "original") == {}


def test_faces_pair_by_overlap_once() -> None:
    overlap = torch.tensor([[0.9, 0.8], [0.85, 0.1], [0.2, 0.0]])
    assert _greedy(overlap) == [(0, 0)]
    assert sorted(_greedy(torch.tensor([[0.6, 0.8], [0.85, 0.1]]))) == [(0, 1), (1, 0)]
    assert _greedy(torch.zeros(0, 3)) == []
