"""Midpoint subdivision: every triangle becomes four, the surface stays where it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facezoo.mesh.topology import IntArray, check_faces


class Subdivision(NamedTuple):
    """Finer connectivity and where its vertices come from.

    Attributes:
        faces: (4 F, 3), oriented as the faces they were cut from; the old vertices keep their numbers.
        parents: (V', 2) the two old vertices each vertex lies half-way between; twice its own number for an old one.
    """

    faces: IntArray
    parents: IntArray

    def carry(self, values: ArrayLike) -> NDArray[np.floating]:
        """Interpolate values (V, ...) of the old vertices to the new ones (V', ...)."""
        array = np.asarray(values)
        return (array[self.parents[:, 0]] + array[self.parents[:, 1]]) / 2


def subdivide(faces: ArrayLike, n_vertices: int) -> Subdivision:
    """Cut every edge in half; neighbours share the new vertex, so nothing tears.

    Args:
        faces: (F, 3) vertex ids.
        n_vertices: V.

    Raises:
        InputError: not (F, 3) ids below V.
    """
    f = check_faces(faces, n_vertices)
    sides = np.sort(np.stack([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]], 1).reshape(-1, 2), axis=1)
    edges, which = np.unique(sides, axis=0, return_inverse=True)
    ab, bc, ca = (n_vertices + which.reshape(-1, 3)).T
    a, b, c = f.T
    finer = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).reshape(-1, 3)
    old = np.arange(n_vertices)
    return Subdivision(finer, np.concatenate([np.stack([old, old], 1), edges]))
