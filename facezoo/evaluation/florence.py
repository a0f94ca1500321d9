"""Florence-style reconstruction error: a scan's face against a predicted mesh, after ICP, by distance to planes.

Protocol of PRNet (Feng et al. 2018) and its followers on the MICC Florence scans: the scan within 95 mm of the nose
tip, rigid alignment with scale, the distance of each scan point to the plane of the triangle that is closest, divided
by the distance of the outer eye corners.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import InputError
from facezoo.evaluation.now_alignment import landmark_placement, refine
from facezoo.mesh.closest import closest_points

Array = NDArray[np.float64]
NOSE_TIP, EYES = 30, (36, 45)
REACH_MM = 95.0


class FlorenceError(NamedTuple):
    """Errors of one prediction.

    Attributes:
        nme_percent: mean distance to planes over the outer interocular distance.
        mean_mm: the same in millimetres.
        points: scan points that counted.
    """

    nme_percent: float
    mean_mm: float
    points: int


def florence_error(
    scan: Array,
    scan_landmarks: Array,
    vertices: Array,
    faces: NDArray[np.int64],
    landmarks: Array,
    *,
    icp: bool = True,
) -> FlorenceError:
    """Measure one prediction.

    Args:
        scan: (S, 3) points, millimetres.
        scan_landmarks: (68, 3) iBUG points of the scan.
        vertices: (V, 3) of the prediction, any unit and frame.
        faces: (F, 3).
        landmarks: (68, 3) iBUG points of the prediction.
        icp: refine the alignment of the landmarks; False measures how far they alone bring it.

    Raises:
        InputError: wrong shapes, or no scan point near the nose.
    """
    for name, value, rows in (
        ("scan", scan, None), ("scan_landmarks", scan_landmarks, 68), ("vertices", vertices, None),
        ("landmarks", landmarks, 68),
    ):  # fmt: skip
        if value.ndim != 2 or value.shape[1] != 3 or (rows is not None and len(value) != rows):
            raise InputError(f"{name} must be ({rows or 'N'}, 3), got {value.shape}.")
    points = scan[np.linalg.norm(scan - scan_landmarks[NOSE_TIP], axis=1) <= REACH_MM]
    if not len(points):
        raise InputError(
            "no scan point lies within 95 mm of the nose tip; scan and landmarks must be in one frame."
        )
    placed = landmark_placement(landmarks, scan_landmarks)(vertices)
    if icp:
        placed = refine(points, placed, faces)(placed)
    found = closest_points(points, placed, faces)
    corners = placed[faces[found.face]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    distance = np.abs(((points - found.point) * normal).sum(1))
    eyes = np.linalg.norm(scan_landmarks[EYES[0]] - scan_landmarks[EYES[1]])
    mean = float(distance.mean())
    return FlorenceError(100 * mean / float(eyes), mean, len(points))
