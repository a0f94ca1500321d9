"""Nested vertex subsets of a surface patch: manifold, optionally mirror-symmetric, each with its own faces.

The dense-landmark subsets (1609, 805, 403, 202, 101) and the levels of the spiral decoder come from here.
Against :func:`facezoo.mesh.decimation.quadric_decimation` the collapse rule adds what labels and graph
networks need: exact sizes, a boundary that stays in place, vertices that must survive, no folded or doubled
faces, left equal to right.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from facezoo.errors import InputError
from facezoo.mesh.decimation import Decimation
from facezoo.mesh.normals import vertex_normals
from facezoo.mesh.topology import (
    IntArray,
    boundary_edges,
    check_faces,
    one_rings,
    restrict_faces,
    unused_vertices,
)

_TURN_LIMIT = 0.2  # cosine: a collapse may not turn a face's normal by more than some 78 degrees
_DRIFT_LIMIT = 0.5  # cosine: nor may collapses add up to 60 degrees against the surface they started from
_SLIVER = 0.15  # lowest shape quality; an equilateral triangle has 1


def nested_subsets(
    vertices: ArrayLike,
    faces: ArrayLike,
    sizes: Sequence[int],
    *,
    region: ArrayLike | None = None,
    keep: ArrayLike | None = None,
    mirror: ArrayLike | None = None,
    uniformity: float = 0.05,
) -> dict[int, Decimation]:
    """Thin a patch by edge collapse and record the vertices left at every wanted size.

    The error of a collapse is measured by area-weighted plane quadrics (Garland and Heckbert 1997) with
    planes that hold the boundary, plus ``uniformity`` times the quadric of distances to the merged vertices,
    which spreads the vertices that flat areas would otherwise lose first. With ``mirror``, an edge and its
    mirror image collapse together, so every subset maps onto itself.

    Args:
        vertices: positions ``(V, 3)``.
        faces: vertex ids ``(F, 3)``, manifold and consistently oriented.
        sizes: vertex counts wanted, each at most the size of the region; reached exactly.
        region: vertex ids to start from; default all vertices.
        keep: vertex ids present in every subset.
        mirror: partner ids ``(V,)``, an involution, e.g. a head's symmetry table; default no symmetry.
        uniformity: 0 follows curvature only; 1 is close to even spacing.

    Returns:
        ``size -> Decimation``: ``kept`` are ids of ``vertices``, ascending, each subset contained in the
        larger ones; ``faces`` index into ``kept``.

    Raises:
        InputError: inconsistent arguments, or a size that cannot be reached (says which count was).
    """
    points = np.asarray(vertices, dtype=np.float64)
    f = check_faces(faces, len(points))
    ids = np.arange(len(points)) if region is None else np.unique(np.asarray(region, dtype=np.int64))
    local_faces = restrict_faces(f, ids)
    lonely = unused_vertices(local_faces, len(ids))
    if len(lonely):
        raise InputError(
            f"{len(lonely)} vertices of the region belong to no face inside it (one is {ids[lonely[0]]}): "
            "leave them out or add their neighbours"
        )
    one_rings(local_faces, len(ids))  # refuses what is not manifold, naming the faces
    wanted = sorted({int(size) for size in sizes}, reverse=True)
    if not wanted or wanted[0] > len(ids) or wanted[-1] < 3:
        raise InputError(
            f"sizes must lie between 3 and the {len(ids)} vertices of the region, got {list(sizes)}"
        )
    fixed = _local_ids(keep, ids, "keep") if keep is not None else np.zeros(0, np.int64)
    partner = np.arange(len(ids))
    if mirror is not None:
        table = np.asarray(mirror, dtype=np.int64)
        if table.shape != (len(points),) or (table[table] != np.arange(len(points))).any():
            raise InputError(
                f"mirror must be an involution of the {len(points)} vertices, got shape {table.shape}"
            )
        partner = _local_ids(table[ids], ids, "the mirror image of the region")
        fixed = np.union1d(fixed, partner[fixed])
    if len(fixed) > wanted[-1]:
        raise InputError(f"{len(fixed)} vertices must be kept, more than the smallest size {wanted[-1]}")
    patch = _Patch(points[ids], local_faces, set(fixed.tolist()), partner.tolist(), uniformity)
    result: dict[int, Decimation] = {}
    for size in wanted:
        patch.thin(size)
        kept, thinned = patch.snapshot()
        result[size] = Decimation(ids[kept], thinned)
    return result


def _local_ids(chosen: ArrayLike, ids: IntArray, name: str) -> IntArray:
    """Translate vertex ids to positions in the ascending ``ids``."""
    array = np.asarray(chosen, dtype=np.int64).reshape(-1)
    missing = array[~np.isin(array, ids)]
    if len(missing):
        raise InputError(f"{name} holds {len(missing)} vertices outside the region, e.g. {missing[0]}")
    return np.searchsorted(ids, array)


class _Patch:
    """The mesh while it is being thinned."""

    def __init__(
        self, points: NDArray, faces: IntArray, fixed: set[int], partner: list[int], uniformity: float
    ) -> None:
        self.points = points
        self.homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        self.fixed = fixed
        self.partner = partner
        self.outward = vertex_normals(torch.from_numpy(points), torch.from_numpy(faces)).numpy()
        self.quadrics = _quadrics(points, faces, uniformity)
        self.faces: dict[int, tuple[int, int, int]] = dict(enumerate(map(tuple, faces.tolist())))
        self.incident: list[set[int]] = [set() for _ in range(len(points))]
        for index, face in self.faces.items():
            for v in face:
                self.incident[v].add(index)
        self.alive = len(points)
        self.stamp = [0] * len(points)  # counts changes of a vertex's quadric; an older queue entry is stale
        self.refused: list[list[tuple]] = [[] for _ in range(len(points))]
        self.queue: list[tuple] = []
        self.relaxed = False  # True once the rules of shape have to give way
        for v in range(len(points)):
            for w in sorted(self.ring(v)):
                self.push(v, w)

    def ring(self, v: int) -> set[int]:
        return {w for index in self.incident[v] for w in self.faces[index]} - {v}

    def push(self, destroy: int, keep: int) -> None:
        """Queue ``destroy -> keep`` unless it is ruled out for good or its mirror image stands for it."""
        image = (self.partner[destroy], self.partner[keep])
        if destroy in self.fixed or image < (destroy, keep) or image == (keep, destroy):
            return  # the last case crosses the mirror plane: neither end may win
        if image[0] == destroy and image[1] != keep:
            return  # a vertex on the mirror plane may not leave it to one side
        p = self.homogeneous[keep]
        cost = float(p @ (self.quadrics[destroy] + self.quadrics[keep]) @ p)
        heapq.heappush(self.queue, (cost, destroy, keep, self.stamp[destroy], self.stamp[keep]))

    def thin(self, size: int) -> None:
        """Collapse until exactly ``size`` vertices are left."""
        too_many: list[tuple] = []
        while self.alive > size:
            if not self.queue and not self.relaxed:
                self.relaxed = True  # ugly triangles are better than a size that cannot be had
                for v in range(len(self.points)):
                    self.retry(v)
                continue
            if not self.queue:
                raise InputError(
                    f"thinning stops at {self.alive} vertices, {size} cannot be reached: keep fewer or drop "
                    "the mirror table (an odd step needs an edge on the mirror plane)"
                )
            entry = heapq.heappop(self.queue)
            _, destroy, keep, *stamps = entry
            if stamps != [self.stamp[destroy], self.stamp[keep]]:
                continue
            twin = (self.partner[destroy], self.partner[keep])
            moves = [(destroy, keep)] if twin == (destroy, keep) else [(destroy, keep), twin]
            if self.alive - len(moves) < size:
                too_many.append(entry)
            elif not self.collapse_together(moves):
                self.refused[destroy].append(entry)
                self.refused[keep].append(entry)
        for entry in too_many:
            heapq.heappush(self.queue, entry)

    def collapse_together(self, moves: list[tuple[int, int]]) -> bool:
        """Carry out one collapse, or a collapse and its mirror image, or nothing."""
        undo: list[tuple[int, tuple[int, int, int]]] = []
        for destroy, keep in moves:
            if not self.allowed(destroy, keep):
                for index, face in reversed(undo):
                    for v in self.faces.pop(index, ()):
                        self.incident[v].discard(index)
                    self.faces[index] = face
                    for v in face:
                        self.incident[v].add(index)
                return False
            for index in list(self.incident[destroy]):
                face = self.faces[index]
                undo.append((index, face))
                for v in face:
                    self.incident[v].discard(index)
                if keep in face:
                    del self.faces[index]
                    continue
                a, b, c = (keep if v == destroy else v for v in face)
                self.faces[index] = (a, b, c)
                for v in (a, b, c):
                    self.incident[v].add(index)
        for destroy, keep in moves:
            self.quadrics[keep] = self.quadrics[keep] + self.quadrics[destroy]
        for v in {v for move in moves for v in move}:
            self.stamp[v] += 1
        self.alive -= len(moves)
        for _, keep in moves:
            around = sorted(self.ring(keep))
            for w in around:
                self.push(keep, w)
                self.push(w, keep)
            for w in [keep, *around]:  # what was refused here may be possible now
                self.retry(w)
        return True

    def retry(self, v: int) -> None:
        """Queue again what was refused at ``v``."""
        for entry in self.refused[v]:
            heapq.heappush(self.queue, entry)
        self.refused[v] = []

    def allowed(self, destroy: int, keep: int) -> bool:
        """Say whether ``destroy -> keep`` leaves a manifold patch with the same holes and no folded face."""
        shared = self.incident[destroy] & self.incident[keep]
        if not shared:
            return False
        ring = self.ring(destroy)
        # Link condition: the two ends have no common neighbour but the tips of their shared faces.
        if len(ring & self.ring(keep)) != len(shared):
            return False
        on_boundary = len(ring) != len(self.incident[destroy])
        if on_boundary and len(shared) == 2:
            return False
        present = {frozenset(self.faces[index]) for index in self.incident[keep]}
        for index in self.incident[destroy] - shared:
            old = self.faces[index]
            new = tuple(keep if v == destroy else v for v in old)
            if frozenset(new) in present:
                return False
            before, after = self.normal(old), self.normal(new)
            length = np.sqrt(after @ after)
            if before @ after <= _TURN_LIMIT * np.sqrt(before @ before) * length:
                return False
            if self.relaxed:
                continue
            outward = self.outward[list(new)].sum(axis=0)
            if after @ outward <= _DRIFT_LIMIT * length * np.sqrt(outward @ outward):
                return False
            if self.quality(new) < min(_SLIVER, self.quality(old)):
                return False
        return True

    def quality(self, face: tuple[int, ...]) -> float:
        """Return a triangle's area over its squared sides, 1 for an equilateral one and 0 for a line."""
        a, b, c = self.points[list(face)]
        sides = ((b - a) ** 2).sum() + ((c - b) ** 2).sum() + ((a - c) ** 2).sum()
        area = np.linalg.norm(self.normal(face))
        return float(2 * 3**0.5 * area / max(sides, 1e-300))

    def normal(self, face: tuple[int, ...]) -> NDArray:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (self.points[v] for v in face)
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
        return np.array([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])

    def snapshot(self) -> tuple[IntArray, IntArray]:
        """Return the surviving vertex ids, ascending, and the faces in that numbering."""
        left = np.array([self.faces[index] for index in sorted(self.faces)], dtype=np.int64)
        kept, local = np.unique(left, return_inverse=True)
        return kept, local.reshape(-1, 3).astype(np.int64)


def _quadrics(points: NDArray, faces: IntArray, uniformity: float) -> NDArray[np.float64]:
    """Sum plane, boundary and point quadrics, weighted by area, ``(V, 4, 4)`` in metres to the fourth."""
    corners = points[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    normal = cross / np.maximum(length, 1e-300)[:, None]
    share = length / 6  # a third of the face's area for each corner
    quadrics = np.zeros((len(points), 4, 4))
    area = np.zeros(len(points))

    def add_planes(at: IntArray, normals: NDArray, through: NDArray, weight: NDArray) -> None:
        plane = np.concatenate([normals, -(normals * through).sum(-1, keepdims=True)], axis=1)
        np.add.at(quadrics, at, weight[:, None, None] * plane[:, :, None] * plane[:, None, :])

    for k in range(3):
        add_planes(faces[:, k], normal, corners[:, 0], share)
        np.add.at(area, faces[:, k], share)
    # Each boundary edge adds the plane through it that stands upright on its face.
    owner = {(a, b): n for face, n in zip(faces.tolist(), normal, strict=True)
             for a, b in zip(face, face[1:] + face[:1], strict=True)}  # fmt: skip
    rim = boundary_edges(faces)
    if len(rim):
        along = points[rim[:, 1]] - points[rim[:, 0]]
        upright = np.cross(along, np.stack([owner[a, b] for a, b in rim.tolist()]))
        upright /= np.maximum(np.linalg.norm(upright, axis=1, keepdims=True), 1e-300)
        for k in range(2):
            add_planes(rim[:, k], upright, points[rim[:, 0]], (along**2).sum(-1))
    spread = np.zeros((len(points), 4, 4))
    spread[:, [0, 1, 2], [0, 1, 2]] = 1
    spread[:, :3, 3] = spread[:, 3, :3] = -points
    spread[:, 3, 3] = (points**2).sum(-1)
    return quadrics + uniformity * area[:, None, None] * spread
