"""Closest points on a triangle mesh: exact, in NumPy, with the part of the triangle that was hit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from facezoo.errors import InputError
from facezoo.mesh.topology import IntArray, check_faces

INSIDE, EDGE_AB, EDGE_BC, EDGE_CA, AT_A, AT_B, AT_C = range(7)
_PAIRS_AT_ONCE = 1 << 18  # bounds the memory of one batch of point-triangle pairs to some 100 MB


class ClosestPoints(NamedTuple):
    """Where N query points meet a mesh.

    Attributes:
        face: face hit ``(N,)`` int64.
        bary: barycentric coordinates there ``(N, 3)``, non-negative, summing to 1.
        part: ``(N,)`` int64: 0 inside, 1-3 edge ab, bc, ca, 4-6 corner a, b, c.
        point: closest positions ``(N, 3)``.
        distance: ``(N,)``, in the unit of the mesh.
    """

    face: IntArray
    bary: NDArray[np.float64]
    part: IntArray
    point: NDArray[np.float64]
    distance: NDArray[np.float64]


def closest_points(points: ArrayLike, vertices: ArrayLike, faces: ArrayLike) -> ClosestPoints:
    """Find the closest surface point for every query point; among equally close faces the lowest index wins.

    Args:
        points: queries ``(N, 3)``.
        vertices: positions ``(V, 3)``.
        faces: vertex ids ``(F, 3)``, at least one.

    Raises:
        InputError: wrong shapes, no face, or a coordinate that is not finite.
    """
    query = np.asarray(points, dtype=np.float64)
    mesh = np.asarray(vertices, dtype=np.float64)
    f = check_faces(faces, len(mesh))
    for name, array in (("points", query), ("vertices", mesh)):
        if array.ndim != 2 or array.shape[1] != 3:
            raise InputError(f"{name} must have shape (N, 3), got {array.shape}")
        if not np.isfinite(array).all():
            raise InputError(f"{name} hold a coordinate that is not finite")
    if len(f) == 0:
        raise InputError("the mesh has no face to be close to")
    corners = mesh[f]
    centre = corners.mean(axis=1)
    reach = np.sqrt(((corners - centre[:, None]) ** 2).sum(-1).max(axis=1))
    # No face whose centre is further away than the nearest corner plus the face's radius can be the closest. Faces are
    # searched by size, so that one large face does not make every query look far.
    nearest = KDTree(mesh[np.unique(f)]).query(query)[0]
    groups = [
        (members, KDTree(centre[members]), (nearest + reach[members].max()) * (1 + 1e-9) + 1e-300)
        for members in _by_size(reach)
    ]
    counts = np.zeros(len(query), np.int64)
    for _, tree, radius in groups:
        counts += np.asarray(tree.query_ball_point(query, radius, return_length=True), dtype=np.int64)
    result = ClosestPoints(
        np.zeros(len(query), np.int64), np.zeros((len(query), 3)), np.zeros(len(query), np.int64),
        np.zeros((len(query), 3)), np.zeros(len(query)),
    )  # fmt: skip
    start = 0
    while start < len(query):
        total = np.cumsum(counts[start:])
        stop = start + max(1, int(np.searchsorted(total, _PAIRS_AT_ONCE, side="right")))
        rows = slice(start, stop)
        found, owners = [], []
        for members, tree, radius in groups:
            lists = tree.query_ball_point(query[rows], radius[rows])
            found += [members[np.asarray(entry, dtype=np.int64)] for entry in lists]
            owners += [np.repeat(np.arange(stop - start), [len(entry) for entry in lists])]
        candidate, owner = np.concatenate(found), np.concatenate(owners)
        bary, part = _closest_on_triangles(query[rows][owner], corners[candidate])
        hit = np.einsum("nk,nkd->nd", bary, corners[candidate])
        squared = ((hit - query[rows][owner]) ** 2).sum(-1)
        order = np.lexsort((candidate, squared, owner))
        best = order[np.r_[0, np.cumsum(counts[rows])[:-1]]]
        result.face[rows], result.bary[rows], result.part[rows] = candidate[best], bary[best], part[best]
        result.point[rows], result.distance[rows] = hit[best], np.sqrt(squared[best])
        start = stop
    return result


def _by_size(reach: NDArray) -> list[IntArray]:
    """Group faces whose radii differ by less than a factor of two; the smallest ones together."""
    level = np.floor(np.log2(np.maximum(reach, reach.max() / 256) / max(float(reach.max()), 1e-300) + 1e-300))
    return [np.flatnonzero(level == value) for value in np.unique(level)]


def _closest_on_triangles(p: NDArray, corners: NDArray) -> tuple[NDArray, IntArray]:
    """Solve one point against one triangle a row, by the Voronoi regions of the triangle.

    Source: Ericson, Real-Time Collision Detection (2005), section 5.1.5.

    Args:
        p: points ``(N, 3)``.
        corners: triangles ``(N, 3, 3)``, corners in rows.

    Returns:
        Barycentric coordinates ``(N, 3)`` and part codes ``(N,)``.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac = b - a, c - a

    def dot(u: NDArray, v: NDArray) -> NDArray:
        return np.einsum("nd,nd->n", u, v)

    ab_a, ac_a = dot(ab, p - a), dot(ac, p - a)
    ab_b, ac_b = dot(ab, p - b), dot(ac, p - b)
    ab_c, ac_c = dot(ab, p - c), dot(ac, p - c)
    weight_c = ab_a * ac_b - ab_b * ac_a
    weight_b = ab_c * ac_a - ab_a * ac_c
    weight_a = ab_b * ac_c - ab_c * ac_b
    towards_c, towards_b = ac_b - ab_b, ab_c - ac_c
    part = np.select(
        [
            (ab_a <= 0) & (ac_a <= 0),
            (ab_b >= 0) & (ac_b <= ab_b),
            (weight_c <= 0) & (ab_a >= 0) & (ab_b <= 0),
            (ac_c >= 0) & (ab_c <= ac_c),
            (weight_b <= 0) & (ac_a >= 0) & (ac_c <= 0),
            (weight_a <= 0) & (towards_c >= 0) & (towards_b >= 0),
        ],
        [AT_A, AT_B, EDGE_AB, AT_C, EDGE_CA, EDGE_BC],
        default=INSIDE,
    )
    total = weight_a + weight_b + weight_c
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.stack([weight_a, weight_b, weight_c], axis=1) / total[:, None]
        on_ab = ab_a / (ab_a - ab_b)
        on_ac = ac_a / (ac_a - ac_c)
        on_bc = towards_c / (towards_c + towards_b)
    zero, one = np.zeros(len(p)), np.ones(len(p))
    table = {
        AT_A: (one, zero, zero),
        AT_B: (zero, one, zero),
        AT_C: (zero, zero, one),
        EDGE_AB: (1 - on_ab, on_ab, zero),
        EDGE_BC: (zero, 1 - on_bc, on_bc),
        EDGE_CA: (1 - on_ac, zero, on_ac),
    }
    bary = inside
    for code, weights in table.items():
        bary = np.where((part == code)[:, None], np.stack(weights, axis=1), bary)
    return bary, part.astype(np.int64)
