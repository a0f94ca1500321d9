"""UV seams: one vertex with several texture coordinates becomes several vertices with one each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facezoo.mesh.topology import IntArray


class Split(NamedTuple):
    """A mesh whose vertices have one UV each.

    Attributes:
        vertex: original vertex of every new vertex ``(N,)``; ``vertex[:V]`` is ``0 ... V-1``, copies follow.
        uv: original UV id of every new vertex ``(N,)``; -1 for a vertex no face uses.
        faces: ids into the new vertices ``(F, 3)``.
    """

    vertex: IntArray
    uv: IntArray
    faces: IntArray


def split_seams(faces: IntArray, uv_faces: IntArray, n_vertices: int) -> Split:
    """Double the vertices at UV seams, since glTF has one UV a vertex.

    Every original vertex keeps its number (with the first of its UV, by id); copies are appended in order of
    vertex and UV. A mesh without seams keeps its faces as they are.
    """
    pairs, inverse = np.unique(
        np.stack([faces.ravel(), uv_faces.ravel()], axis=1), axis=0, return_inverse=True
    )
    leads = np.r_[True, pairs[1:, 0] != pairs[:-1, 0]][: len(pairs)]
    number = np.where(leads, pairs[:, 0], n_vertices - 1 + np.cumsum(~leads))
    vertex = np.r_[np.arange(n_vertices), pairs[~leads, 0]].astype(np.int64)
    uv = np.full(len(vertex), -1, dtype=np.int64)
    uv[number] = pairs[:, 1]
    return Split(vertex, uv, number[inverse.reshape(-1)].reshape(faces.shape).astype(np.int64))
