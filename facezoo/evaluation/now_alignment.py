"""The NoW benchmark's geometry: which part of a scan counts, how a prediction is laid onto it, how far apart they are.

Sanyal et al., "Learning to Regress 3D Face Shape and Expression from an Image without 3D Supervision", CVPR 2019.
Points are rows: a map takes x to ``scale x R + t``. Scans are in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from facezoo.errors import InputError
from facezoo.mesh.closest import closest_points

Array = NDArray[np.float64]
# Of the iBUG-68 points: outer and inner corner of the right eye, inner and outer of the left, nose bottom, mouth.
SEVEN = (36, 39, 42, 45, 33, 48, 54)
NOW_REACH, STIRLING_REACH = 1.4, 1.2
_STEPS, _ENOUGH, _NOTHING = 60, 1e-7, 1e-14
_COARSE = 4000  # scan points that a first alignment of a dense scan uses


class Placement(NamedTuple):
    """The map ``x -> scale x R + t`` of points in rows; R may be a reflection, as the benchmark allows.

    Attributes:
        scale: factor.
        R: (3, 3).
        t: (3,).
    """

    scale: float
    R: Array
    t: Array

    def __call__(self, points: Array) -> Array:
        """Move points (N, 3)."""
        return self.scale * points @ self.R + self.t


@dataclass(frozen=True)
class ScanError:
    """One aligned prediction.

    Attributes:
        distances: (N,) unsigned distance of each counted scan vertex to the prediction, millimetres.
        placement: of the predicted vertices.
        counted: (N,) rows of the scan's vertices.
    """

    distances: Array
    placement: Placement
    counted: NDArray[np.int64]


def region(landmarks: Array, reach: float = NOW_REACH) -> tuple[Array, float]:
    """Return centre and radius of the sphere around a face that counts.

    Args:
        landmarks: (7, 3) of the scan, in the order of ``SEVEN``.
        reach: 1.4 for NoW, 1.2 for the Stirling scans.
    """
    bridge, bottom = landmarks[1:3].mean(0), landmarks[4]
    across = np.linalg.norm(landmarks[0] - landmarks[3])
    return bottom + 0.3 * (bridge - bottom), float(reach * (across + np.linalg.norm(bridge - bottom)) / 2)


def counted_vertices(vertices: Array, landmarks: Array, reach: float = NOW_REACH) -> NDArray[np.int64]:
    """Return the rows of the scan's vertices (V, 3) inside :func:`region`."""
    centre, radius = region(landmarks, reach)
    return np.flatnonzero(np.linalg.norm(vertices - centre, axis=1) <= radius)


def landmark_placement(source: Array, target: Array) -> Placement:
    """Find the similarity, reflections included, that lays landmarks (N, 3) onto others in least squares.

    The benchmark's Procrustes step; :func:`facezoo.geometry.align` is the one without reflections.
    """
    middle, aim = source.mean(0), target.mean(0)
    centred, wanted = source - middle, target - aim
    u, singular, vt = np.linalg.svd(wanted.T @ centred)
    R = vt.T @ u.T
    scale = float(singular.sum() / (centred**2).sum())
    return Placement(scale, R, aim - scale * middle @ R)


def metric_placement(source: Array, target: Array, unit: float, *, compat: bool = False) -> Placement:
    """Find the placement whose scale is known: predictions in metres have ``unit`` 1000.

    Args:
        source, target: landmarks (N, 3).
        unit: millimetres a unit of the prediction.
        compat: keep the translation that belongs to the scaled solution, as the released code does; the refinement then
            begins some centimetres off.
    """
    found = landmark_placement(source, target)
    t = found.t if compat else target.mean(0) - unit * source.mean(0) @ found.R
    return Placement(unit, found.R, t)


def refine(points: Array, vertices: Array, faces: NDArray[np.int64], *, scale: bool = True) -> Placement:
    """Move a mesh until the sum of squared distances of points to it is least (Levenberg-Marquardt).

    A point's distance changes, to first order, as its closest point moves along the line between them, so that the
    derivative is exact although the closest point slides.

    Args:
        points: (N, 3) of the scan.
        vertices: (V, 3) of the prediction, near the points.
        faces: (F, 3).
        scale: also find a scale.

    Returns:
        The placement of ``vertices``.
    """
    found = Placement(1.0, np.eye(3), np.zeros(3))
    if len(points) > 2 * _COARSE:
        found = _descend(points[:: len(points) // _COARSE], vertices, faces, scale, found)
    return _descend(points, vertices, faces, scale, found)


def scan_error(
    scan: Array,
    scan_landmarks: Array,
    vertices: Array,
    faces: NDArray[np.int64],
    landmarks: Array,
    *,
    unit: float | None = None,
    reach: float = NOW_REACH,
) -> ScanError:
    """Measure one prediction by the protocol: crop, seven landmarks, refinement, distances.

    Args:
        scan: (S, 3) vertices, millimetres.
        scan_landmarks: (7, 3).
        vertices: (V, 3) of the neutral prediction in any unit.
        faces: (F, 3).
        landmarks: (7, 3) of the prediction.
        unit: millimetres a unit for the metrical benchmark; None leaves the scale free.
        reach: see :func:`region`.

    Raises:
        InputError: shapes that do not fit, or no scan vertex near the landmarks.
    """
    for name, value, rows in (
        ("scan", scan, None), ("scan_landmarks", scan_landmarks, 7), ("vertices", vertices, None),
        ("landmarks", landmarks, 7),
    ):  # fmt: skip
        if value.ndim != 2 or value.shape[1] != 3 or (rows is not None and len(value) != rows):
            raise InputError(f"{name} must be ({rows or 'N'}, 3), got {value.shape}.")
    counted = counted_vertices(scan, scan_landmarks, reach)
    if not len(counted):
        raise InputError("no scan vertex lies near its landmarks; scan and landmarks must be in one frame.")
    if unit is None:
        first = landmark_placement(landmarks, scan_landmarks)
    else:
        first = metric_placement(landmarks, scan_landmarks, unit)
    points = scan[counted]
    placed = first(vertices)
    second = refine(points, placed, faces, scale=unit is None)
    distances = closest_points(points, second(placed), faces).distance
    whole = Placement(
        first.scale * second.scale, first.R @ second.R, second.scale * first.t @ second.R + second.t
    )
    return ScanError(distances, whole, counted)


def _descend(
    points: Array, vertices: Array, faces: NDArray[np.int64], scale: bool, start: Placement
) -> Placement:
    current, damping = start, 1e-6
    gap, normal, hit = _gaps(points, current(vertices), faces)
    for _ in range(_STEPS):
        centre = hit.mean(0)
        arm = hit - centre
        # Rows of the gap's derivative by turn, shift and growth of the mesh about the centre.
        jacobian = -np.concatenate([np.cross(arm, normal), normal, (arm * normal).sum(1, keepdims=True)], 1)
        jacobian = jacobian if scale else jacobian[:, :6]
        normal_matrix, slope = jacobian.T @ jacobian, jacobian.T @ gap
        cost = gap @ gap
        if cost <= _NOTHING * len(points):
            break
        for _ in range(8):
            step = np.linalg.solve(normal_matrix + damping * np.diag(np.diag(normal_matrix) + 1e-12), -slope)
            turn = Rotation.from_rotvec(step[:3]).as_matrix().T  # rows are points
            growth = 1 + step[6] if scale else 1.0
            linear = growth * turn
            trial = Placement(
                current.scale * growth,
                current.R @ turn,
                (current.t - centre) @ linear + centre + step[3:6],
            )
            trial_gap, trial_normal, trial_hit = _gaps(points, trial(vertices), faces)
            better = trial_gap @ trial_gap
            if better < cost:
                break
            damping = max(10 * damping, 1e-6)
        else:
            return current
        damping /= 10
        current, gap, normal, hit = trial, trial_gap, trial_normal, trial_hit
        if cost - better <= _ENOUGH * cost:
            break
    return current


def _gaps(points: Array, vertices: Array, faces: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Return distances (N,), unit directions from the mesh to the points (N, 3), and the closest points (N, 3)."""
    found = closest_points(points, vertices, faces)
    away = points - found.point
    length = found.distance[:, None]
    corners = vertices[faces[found.face]]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
    return found.distance, np.where(length > 1e-9, away / np.maximum(length, 1e-30), flat), found.point
