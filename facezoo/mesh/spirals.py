"""Spiral vertex sequences of SpiralNet++ (Gong et al. 2019, section 3.1), index for index the reference's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from facezoo.errors import InputError
from facezoo.mesh.topology import IntArray, one_rings


def spiral_indices(vertices: ArrayLike, faces: ArrayLike, length: int, dilation: int = 1) -> IntArray:
    """Unroll the neighbourhood of every vertex into a fixed-length sequence of vertex ids.

    A sequence is the vertex, its one-ring, the second ring and so on, cut at ``length * dilation`` and
    thinned to every ``dilation``-th entry. Where the mesh component has too few vertices, the whole sequence
    is replaced by the nearest vertices in space, of other components too: a rule of the reference that keeps
    every entry valid.

    Ring order depends on face order: store the table with the weights that were trained on it.

    Args:
        vertices: positions ``(V, 3)``; only the replacement rule looks at them.
        faces: vertex ids ``(F, 3)``, manifold and consistently oriented.
        length: entries kept a sequence, the vertex itself included.
        dilation: stride along the sequence.

    Returns:
        Indices ``(V, length)`` int64; column 0 is the vertex itself.

    Raises:
        InputError: bad faces, ``length`` or ``dilation`` below 1, or fewer than ``length * dilation``
            vertices where the replacement rule is needed.
    """
    points = np.asarray(vertices, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"vertices must have shape (V, 3), got {points.shape}")
    if length < 1 or dilation < 1:
        raise InputError(f"length and dilation must be at least 1, got {length} and {dilation}")
    reach = length * dilation
    rings = one_rings(faces, len(points))
    tree = KDTree(points)
    table = np.empty((len(points), length), dtype=np.int64)
    for v in range(len(points)):
        spiral = _grow(v, rings, reach)
        if spiral is None:
            if len(points) < reach:
                raise InputError(
                    f"a spiral of length {length} and dilation {dilation} needs {reach} vertices, there are "
                    f"{len(points)}: shorten the spiral or decimate less"
                )
            spiral = np.atleast_1d(tree.query(points[v], k=reach)[1]).tolist()
        table[v] = spiral[:reach:dilation]
    return table


def _grow(vertex: int, rings: list[list[int]], reach: int) -> list[int] | None:
    """Append whole rings around ``vertex`` until ``reach`` is covered; None where the rings run out."""
    spiral = [vertex]
    last = rings[vertex]
    following = _next_ring(last, set(spiral), rings)
    spiral += last
    while following and len(spiral) + len(following) < reach:
        last, following = following, _next_ring(following, set(spiral), rings)
        spiral += last
    # The reference tests the next ring, not the length: a spiral that ends exactly with its component is
    # replaced.
    return spiral + following if following else None


def _next_ring(last: list[int], inside: set[int], rings: list[list[int]]) -> list[int]:
    """Collect the ring around ``last`` in spiral order; ``inside`` holds what lies within ``last``."""
    current = set(last)
    found: dict[int, None] = {}
    for u in last:
        ring = rings[u]
        met = [i for i, w in enumerate(ring) if w in current]
        # Go on from the neighbour in the ring being walked, so that the new ring turns the same way.
        begin = met[0] if met else len(ring)
        for w in ring[begin:] + ring[:begin]:
            if w not in current and w not in inside:
                found.setdefault(w)
    return list(found)
