"""Quadric edge-collapse decimation and the sampling matrices of COMA and SpiralNet++.

Garland and Heckbert's quadrics without optimal placement (Ranjan et al. 2018, section 3.2): the kept vertices
are vertices of the input, so going down is a selection. Going up interpolates on the coarse surface.
"""

from __future__ import annotations

import heapq
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facezoo.errors import InputError, unknown_name
from facezoo.mesh import closest
from facezoo.mesh.topology import IntArray, check_faces, edges


class Decimation(NamedTuple):
    """A coarser mesh on vertices of the input mesh.

    Attributes:
        kept: input ids of the kept vertices ``(K,)`` int64, ascending; ``coarse = fine[kept]`` is the
            down-sampling.
        faces: faces of the coarse mesh ``(F', 3)`` int64 in its own numbering.
    """

    kept: IntArray
    faces: IntArray


class Upsampling(NamedTuple):
    """Every fine vertex as a weighted sum of three coarse vertices.

    Attributes:
        corners: coarse vertex ids ``(V, 3)`` int64.
        weight: ``(V, 3)`` float64; unused corners weigh 0.
    """

    corners: IntArray
    weight: NDArray[np.float64]

    def apply(self, coarse: ArrayLike) -> NDArray:
        """Interpolate per-vertex values ``(K, C)`` to the fine vertices ``(V, C)``."""
        return np.einsum("vk,vkc->vc", self.weight, np.asarray(coarse)[self.corners])


def vertex_quadrics(vertices: ArrayLike, faces: ArrayLike) -> NDArray[np.float64]:
    """Sum, for every vertex, the outer products of its incident face planes, unweighted.

    A plane is ``(n, d)`` with unit normal ``n``; ``[p 1] Q [p 1]`` is the sum of squared distances of ``p``
    to the planes.

    Returns:
        Quadrics ``(V, 4, 4)``, in squared units of the mesh.
    """
    points = np.asarray(vertices, dtype=np.float64)
    f = check_faces(faces, len(points))
    if not np.isfinite(points).all():
        raise InputError("vertices hold a coordinate that is not finite")
    homogeneous = np.concatenate([points[f], np.ones((len(f), 3, 1))], axis=2)
    # The plane is the null vector of the three homogeneous corners. The reference takes it by SVD; a cross
    # product differs in the last digit and with that in the order of nearly equal collapses.
    plane = np.linalg.svd(homogeneous)[2][:, -1]
    length = np.linalg.norm(plane[:, :3], axis=1, keepdims=True)
    plane = np.divide(plane, length, out=np.zeros_like(plane), where=length > 0)
    quadrics = np.zeros((len(points), 4, 4))
    for k in range(3):
        np.add.at(quadrics, f[:, k], plane[:, :, None] * plane[:, None, :])
    return quadrics


def quadric_decimation(vertices: ArrayLike, faces: ArrayLike, target: int) -> Decimation:
    """Collapse edges until at most ``target`` vertices are used, exactly as SpiralNet++'s mesh sampling does.

    The cost of an edge is the cheaper of keeping one endpoint under the sum of both quadrics. Costs are
    brought up to date only when an edge is popped, and renamed edges keep their place in the heap: both are
    the reference's, and weights trained on its matrices depend on them. The result may be non-manifold and is
    not symmetric; :func:`facezoo.mesh.subsets.nested_subsets` gives neither surprise.

    Args:
        vertices: positions ``(V, 3)``.
        faces: vertex ids ``(F, 3)``.
        target: vertices wanted; the reference's factor ``q`` means ``ceil(V / q)``. A collapse can free more
            than one vertex, so that fewer may remain.

    Raises:
        InputError: ``target`` below 3, or a coordinate that is not finite.
    """
    points = np.asarray(vertices, dtype=np.float64)
    f = check_faces(faces, len(points))
    if target < 3:
        raise InputError(f"target must be at least 3 vertices, got {target}")
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    quadrics = vertex_quadrics(points, f)

    def costs(r: int, c: int) -> tuple[float, float]:
        """Return the costs of destroying c and of destroying r."""
        total = quadrics[r] + quadrics[c]
        return (
            float(homogeneous[r] @ total @ homogeneous[r]),
            float(homogeneous[c] @ total @ homogeneous[c]),
        )

    pairs = edges(f)
    queue: list[list] = []  # entries [cost, r, c], mutable: a collapse renames endpoints where they lie
    entries: list[list[list]] = [[] for _ in range(len(points))]
    for r, c in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))].tolist():
        entry = [min(costs(r, c)), r, c]
        heapq.heappush(queue, entry)
        entries[r].append(entry)
        entries[c].append(entry)

    triangles: list[list[int] | None] = list(f.tolist())
    incident: list[set[int]] = [set() for _ in range(len(points))]
    for index, triangle in enumerate(f.tolist()):
        for v in triangle:
            incident[v].add(index)
    used = sum(1 for at in incident if at)
    while used > target:
        entry = heapq.heappop(queue)
        cost, r, c = entry
        if r == c:
            continue
        without_c, without_r = costs(r, c)
        if min(without_c, without_r) > cost:
            entry[0] = min(without_c, without_r)
            heapq.heappush(queue, entry)
            continue
        keep, destroy = (r, c) if without_c < without_r else (c, r)
        for other in entries[destroy]:
            for k in (1, 2):
                if other[k] == destroy:
                    other[k] = keep
        entries[keep] += entries[destroy]
        entries[destroy] = []
        quadrics[keep] = quadrics[destroy] = quadrics[r] + quadrics[c]
        around = {v for index in incident[destroy] for v in triangles[index] or ()}
        before = sum(1 for v in around if incident[v])
        for index in incident[destroy]:
            triangle = triangles[index] or []
            renamed = [keep if v == destroy else v for v in triangle]
            if len(set(renamed)) == 3:
                triangles[index] = renamed
                incident[keep].add(index)
            else:
                triangles[index] = None
                for v in set(triangle) - {destroy}:
                    incident[v].discard(index)
        incident[destroy] = set()
        used -= before - sum(1 for v in around if incident[v])
    left = np.array([t for t in triangles if t is not None], dtype=np.int64).reshape(-1, 3)
    kept, local = np.unique(left, return_inverse=True)
    return Decimation(kept, local.reshape(-1, 3).astype(np.int64))


def upsampling(
    fine_vertices: ArrayLike,
    coarse_vertices: ArrayLike,
    coarse_faces: ArrayLike,
    *,
    compat: Literal["official"] | None = None,
) -> Upsampling:
    """Express every fine vertex by the corners of the coarse face closest to it.

    Args:
        fine_vertices: positions ``(V, 3)``.
        coarse_vertices: positions ``(K, 3)``.
        coarse_faces: vertex ids ``(F', 3)``.
        compat: ``"official"`` reproduces SpiralNet++: where the closest point lies on an edge, the two
            weights are a least-squares fit to the fine vertex itself, so that they do not sum to 1 and change
            with the origin of the coordinates; inside a face the three weights solve for the closest point as
            a linear (not affine) combination. The default is barycentric everywhere: weights sum to 1 and
            translation does not matter.

    Raises:
        InputError: bad arrays or an unknown ``compat``.
    """
    if compat not in (None, "official"):
        raise unknown_name("compat", str(compat), ["official"])
    fine = np.asarray(fine_vertices, dtype=np.float64)
    coarse = np.asarray(coarse_vertices, dtype=np.float64)
    hit = closest.closest_points(fine, coarse, coarse_faces)
    ids = check_faces(coarse_faces)[hit.face]
    weight = hit.bary.copy()
    if compat == "official":
        corners = coarse[ids].transpose(0, 2, 1)  # corner positions as columns
        inside = hit.part == closest.INSIDE
        weight[inside] = np.linalg.solve(corners[inside], hit.point[inside, :, None])[..., 0]
        sides = {closest.EDGE_AB: [0, 1], closest.EDGE_BC: [1, 2], closest.EDGE_CA: [2, 0]}
        for part, ends in sides.items():
            rows = np.flatnonzero(hit.part == part)
            side = corners[rows][:, :, ends]
            fit = np.linalg.pinv(side) @ fine[rows, :, None]
            weight[rows[:, None], ends] = fit[..., 0]
    return Upsampling(ids, weight)
