"""Tables by yaw and displaced boxes: exact for a model that knows the truth, and printed beside published numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from aflw_files import face_model, write_pictures
from synergynet_fakes import tiny_config, write_landmark_head

from facezoo.cli import main
from facezoo.data.readers import open_reader
from facezoo.evaluation.displaced_boxes import DisplacedBoxes
from facezoo.evaluation.large_pose import evaluate_large_pose, report
from facezoo.geometry.camera import Camera
from facezoo.geometry.crop import tight_box
from facezoo.geometry.rotations import euler_to_matrix
from facezoo.models.synergynet.module import SynergyModel
from facezoo.types import Face, Prediction

ANGLES = [(5.0, 20.0, -10.0), (-15.0, -50.0, 5.0), (0.0, 75.0, 30.0), (120.0, 10.0, 0.0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("aflw2000")
    write_pictures(path, face_model(np.random.default_rng(0)), ANGLES)
    return path


class Knowing:
    """A model that answers with the labels, a little to the right, and turned a little too far."""

    model_id = "knowing"

    def __init__(self, reader, right: float, yaw: float) -> None:
        self.samples = {reader[i].path: reader[i] for i in range(len(reader))}
        self.right, self.yaw = right, yaw

    def predict(self, paths, boxes, detector, fit):
        out = []
        for path, given in zip(paths, boxes, strict=True):
            sample = self.samples[path]
            points = sample.labels["original"] + torch.tensor([self.right, 0.0])
            yaw, pitch, roll = torch.deg2rad(sample.pose_deg + torch.tensor([self.yaw, 0, 0]))
            R = torch.diag(torch.tensor([1.0, -1, -1])) @ euler_to_matrix(yaw, pitch, roll)
            camera = Camera(torch.eye(3), R, torch.tensor([0.0, 0, 1]), (450, 450), "weak")
            face = Face(box=tight_box(points), score=1.0, landmarks={"ibug68": points}, camera=camera)
            assert given.shape == (1, 4)
            out.append(Prediction([face], np.zeros((450, 450, 3), np.uint8)))
        return out


def test_tables_of_a_model_that_knows(folder):
    reader = open_reader("aflw2000", folder)
    result = evaluate_large_pose(Knowing(reader, 3.0, 2.0), reader)
    sides = [float((reader[i].box[2:] - reader[i].box[:2]).prod().sqrt()) for i in range(4)]
    each = [300 / side for side in sides]
    table = result.nme["original"]
    assert table.faces == (2, 1, 1)
    assert table.bins == pytest.approx(((each[0] + each[3]) / 2, each[1], each[2]), rel=1e-4)
    assert table.sample_mean == pytest.approx(np.mean(each), rel=1e-4)
    # a pitch of 120 degrees is left out of the angles, not of the points
    assert result.angles == pytest.approx((2.0, 0.0, 0.0, 2 / 3, 3, 1), abs=1e-3)
    assert 1.0 < result.geodesic_deg < 2.001
    lines = "\n".join(report(result, "aflw2000"))
    assert "SynergyNet                     2.65   3.30   4.27   3.41" in lines
    assert "6DRepNet" in lines and "knowing" in lines and "1 beyond 99 degrees left out" in lines


def test_displaced_boxes_are_off_by_what_they_say(folder):
    reader = open_reader("aflw2000", folder)
    box, moved = reader[1].box, DisplacedBoxes(reader, 1.4, 1.35, (0.15, 0.0))[1].box
    side = float((box[2:] - box[:2]).prod().sqrt())
    torch.testing.assert_close(moved[2:] - moved[:2], 1.35 * (box[2:] - box[:2]))
    shift = (moved[:2] + moved[2:] - box[:2] - box[2:]) / 2
    assert shift.tolist() == pytest.approx([0.15 * 1.4 * side, 0], abs=1e-3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights")
    SynergyModel(tiny_config(write_landmark_head(path))).save_pretrained(path / "tiny")
    return str(path / "tiny")


def test_command_prints_the_table_and_writes_json(weights, folder, tmp_path, capsys):
    assert (
        main(["evaluate", weights, "data=aflw2000", f"root={folder}", f"out={tmp_path}", "--device", "cpu"])
        == 0
    )
    text = capsys.readouterr().out
    assert (
        "3DDFA-V2 (MRS)" in text
        and "Pose, mean absolute error" in text
        and "measured, 4 faces (2, 1, 1)" in text
    )
    stored = json.loads((tmp_path / "aflw2000_truth.json").read_text())
    assert stored["nme_by_yaw"]["original"]["faces"] == [2, 1, 1] and len(stored["weights_sha256"]) == 64
    assert stored["pose_mae_deg"]["faces"] == 3


def test_command_measures_displaced_boxes(weights, folder, capsys):
    given = ["data=aflw2000", f"root={folder}", "boxes=displaced", "--json", "--device", "cpu"]
    assert main(["evaluate", weights, *given]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 10 and found["rows"][0]["scale"] == 0.8
    values = [row["original"] for row in found["rows"]]
    assert found["spread"]["original"] == pytest.approx(max(values) - min(values), abs=2e-3)
    assert max(values) > min(values)


def test_a_dataset_without_yaw_has_no_such_table(folder):
    from facezoo.errors import InputError

    reader = open_reader("aflw2000", folder)

    class Nameless(DisplacedBoxes):
        def __getitem__(self, index):
            import dataclasses

            return dataclasses.replace(self.reader[index], yaw_deg=None)

    with pytest.raises(InputError, match="has no yaw"):
        evaluate_large_pose(Knowing(reader, 0.0, 0.0), Nameless(reader, 1.4, 1.0, (0.0, 0.0)))
