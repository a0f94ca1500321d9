"""The tables of AFLW2000-3D and AFLW: NME by yaw, and the errors of the pose.

Zhu et al., "Face alignment across large poses", CVPR 2016; HopeNet's rule for angles (Ruiz et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facezoo.data.readers import Reader
from facezoo.data.readers.aflw21 import to_21
from facezoo.data.readers.mat_labels import PosedSample
from facezoo.errors import InputError
from facezoo.evaluation.landmarks68 import BoxSource, FaceResult, evaluate
from facezoo.evaluation.published import AFLW2000_NME, AFLW2000_POSE, AFLW_NME
from facezoo.geometry.crop import tight_box
from facezoo.geometry.rotations import euler_to_matrix
from facezoo.metrics import GeodesicPoseError, PoseMeanError, YawBinNME
from facezoo.metrics.pose import AngleErrors
from facezoo.metrics.yaw_bins import YawTable
from facezoo.models.predict import FaceModel


@dataclass(frozen=True)
class LargePose:
    """A finished measurement.

    Attributes:
        summary: as of :func:`facezoo.evaluation.landmarks68.evaluate`.
        nme: label set -> table; AFLW's is ``"21 points"``.
        angles: errors of yaw, pitch and roll, or None where the dataset or the model gives no pose.
        geodesic_deg: mean angle between the rotations, of the same faces.
    """

    summary: dict[str, Any]
    nme: dict[str, YawTable]
    angles: AngleErrors | None
    geodesic_deg: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        out: dict[str, Any] = {
            **self.summary,
            "nme_by_yaw": {name: table._asdict() for name, table in self.nme.items()},
        }
        if self.angles is not None:
            out |= {"pose_mae_deg": self.angles._asdict(), "pose_geodesic_deg": self.geodesic_deg}
        return out


def evaluate_large_pose(
    model: FaceModel, reader: Reader, boxes: BoxSource = "truth", detector: str = "auto"
) -> LargePose:
    """Predict every face of a dataset that gives yaw, and fill its tables.

    Args:
        model: any model with 68 landmarks.
        reader: AFLW2000-3D or AFLW.
        boxes, detector: as of :func:`facezoo.evaluation.landmarks68.evaluate`; a missed face is counted, not averaged.

    Raises:
        InputError: a face has no yaw.
    """
    found = evaluate(model, reader, boxes, detector)
    results = [result for result in found.results if result.face is not None]
    unknown = next((r.sample.path for r in results if r.sample.yaw_deg is None), None)
    if unknown is not None:
        raise InputError(f"{unknown} has no yaw; tables by yaw need a dataset that gives it")
    angles, geodesic = pose_errors(results)
    return LargePose(found.summary, yaw_tables(results, found.landmarks), angles, geodesic)


def yaw_tables(results: Sequence[FaceResult], landmarks: str) -> dict[str, YawTable]:
    """Return NME by yaw for each label set; for AFLW of the visible ones of its 21 points."""
    if not results:
        return {}
    predicted = _stack([r.face.landmarks[landmarks] for r in results if r.face is not None])
    yaw = torch.tensor([float(r.sample.yaw_deg or 0.0) for r in results])
    tables = {}
    for labels in results[0].sample.labels:
        truth = _stack([r.sample.labels[labels] for r in results])
        seen = [r.sample for r in results if isinstance(r.sample, PosedSample)]
        points21 = [s.points21 for s in seen if s.points21 is not None]
        metric = YawBinNME()
        if len(points21) == len(results):
            box = tight_box(truth)
            side = (box[:, 2:] - box[:, :2]).prod(1).sqrt()
            visible = torch.stack([s.visible21 for s in seen if s.visible21 is not None])
            metric.update(to_21(predicted), _stack(points21), yaw, side, visible)
            return {"21 points": metric.table()}
        metric.update(predicted, truth, yaw)
        tables[labels] = metric.table()
    return tables


def pose_errors(results: Sequence[FaceResult], limit: float = 99.0) -> tuple[AngleErrors | None, float]:
    """Return the errors of the angles and the mean geodesic angle, both of faces with true angles within the limit."""
    mean, turned = PoseMeanError(limit), GeodesicPoseError()
    for result in results:
        pose = None if result.face is None else result.face.pose
        true = result.sample.pose_deg if isinstance(result.sample, PosedSample) else None
        if pose is None or true is None:
            continue
        found = torch.tensor([tuple(pose)])
        mean.update(found, true[None])
        if bool((true.abs() <= limit).all()):
            turned.update(_rotation(found), _rotation(true[None]))
    if not int(mean.count):
        return None, math.nan
    return mean.by_angle(), float(turned.compute())


def report(result: LargePose, name: str) -> list[str]:
    """Lay out the tables with published methods beside them.

    Args:
        result: of :func:`evaluate_large_pose`.
        name: ``"aflw2000"`` or ``"aflw"``, which chooses the peers.
    """
    lines = []
    for labels, table in result.nme.items():
        lines.append(
            f"NME %, {labels}: |yaw| in [0, 30], (30, 60], above 60; mean of the bins; mean of the faces"
        )
        if name == "aflw2000" and labels == "original":
            lines += [
                f"  {row.method:<28}{row.to_30:7.2f}{row.to_60:7.2f}{row.to_90:7.2f}{row.mean:7.2f}      -"
                for row in AFLW2000_NME
            ]
        if name == "aflw":
            lines += [
                f"  {method:<28}{'-':>7}{'-':>7}{'-':>7}{value:7.2f}      -" for method, value in AFLW_NME
            ]
        cells = "".join(f"{value:7.2f}" for value in (*table.bins, table.bin_mean, table.sample_mean))
        lines.append(
            f"  {result.summary['model']:<28}{cells}   measured, {sum(table.faces)} faces {table.faces}"
        )
    if result.angles is not None:
        a = result.angles
        lines.append("Pose, mean absolute error in degrees: yaw, pitch, roll; their mean")
        if name == "aflw2000":
            lines += [
                f"  {row.method:<28}{row.yaw:7.2f}{row.pitch:7.2f}{row.roll:7.2f}{row.mean:7.2f}"
                for row in AFLW2000_POSE
            ]
        lines.append(
            f"  {result.summary['model']:<28}{a.yaw:7.2f}{a.pitch:7.2f}{a.roll:7.2f}{a.mean:7.2f}   "
            f"measured, {a.faces} faces, {a.left_out} beyond 99 degrees left out; geodesic {result.geodesic_deg:.2f}"
        )
    return lines


def _stack(points: Sequence[Tensor]) -> Tensor:
    return torch.stack([p.float().cpu() for p in points])


def _rotation(angles: Tensor) -> Tensor:
    yaw, pitch, roll = torch.deg2rad(angles).unbind(1)
    return euler_to_matrix(yaw, pitch, roll)
