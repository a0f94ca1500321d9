"""The mesh over the dense points: its edges for the vertex-edge loss, its hierarchy for the spiral decoder."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.data.mirror import subset_mirror
from facezoo.errors import AssetError
from facezoo.heads import HeadModel, load_head
from facezoo.losses import unique_edges
from facezoo.mesh.decimation import upsampling
from facezoo.mesh.spirals import spiral_indices
from facezoo.mesh.subsets import nested_subsets
from facezoo.mesh.topology import restrict_faces
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.spiral import SpiralLevels, level_sizes


def dense_faces(head: HeadModel, points: int) -> Tensor:
    """Return triangles (F, 3) over a vertex subset of a head, in the subset's own numbering.

    A subset that is a patch of the head keeps the head's triangles. A thinned one gets the triangles that remain when
    its patch is collapsed onto it.

    Raises:
        AssetError: no subset of the head is a patch that holds these points.
    """
    chosen = head.topology.subset(points).numpy()
    vertices, faces = head.v_template.numpy(), head.topology.faces.numpy()
    for size in sorted(head.topology.subsets):
        region = head.topology.subset(size).numpy()
        local = restrict_faces(faces, region)
        if size < points or not np.isin(chosen, region).all() or len(np.unique(local)) < size:
            continue
        if size == points:
            return torch.from_numpy(local)
        thinned = nested_subsets(vertices, faces, [points], region=region, keep=chosen)[points]
        return torch.from_numpy(_renumber(thinned.kept[thinned.faces], chosen))
    raise AssetError(f"head {head.head_id!r} has no patch of triangles around its subset of {points} points")


def dense_edges(config: DenseConfig) -> Tensor:
    """Return the mesh edges (E, 2) over the dense points of a configuration."""
    return unique_edges(dense_faces(load_head(config.head), config.points))


def spiral_levels(config: DenseConfig) -> SpiralLevels:
    """Build the spiral decoder's tables on the mesh of the dense points.

    Levels come from :func:`facezoo.mesh.subsets.nested_subsets` (exact sizes, symmetric, manifold), spirals and
    up-sampling as in SpiralNet++.
    """
    head = load_head(config.head)
    ids = head.topology.subset(config.points)
    vertices = head.v_template[ids].double().numpy()
    faces = dense_faces(head, config.points).numpy()
    mirror = None if head.topology.symmetry is None else subset_mirror(ids, head.topology.symmetry)
    sizes = level_sizes(config.points, config.spiral_factors)
    coarser = nested_subsets(vertices, faces, sizes[1:], mirror=None if mirror is None else mirror.numpy())
    levels = [(vertices, faces), *((vertices[coarser[n].kept], coarser[n].faces) for n in sizes[1:])]
    spirals, index, weight = [], [], []
    for (fine, triangles), (coarse, coarse_triangles) in pairwise(levels):
        spirals.append(torch.from_numpy(spiral_indices(fine, triangles, config.spiral_length)))
        up = upsampling(fine, coarse, coarse_triangles)
        index.append(torch.from_numpy(up.corners))
        weight.append(torch.from_numpy(up.weight).float())
    return SpiralLevels(spirals, index, weight)


def _renumber(faces: NDArray, ids: NDArray) -> NDArray[np.int64]:
    """Turn vertex ids into positions within ``ids``, whatever their order."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids[order], faces)].astype(np.int64)
