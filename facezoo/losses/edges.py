"""Vertex-edge loss: neighbouring landmarks must keep the offset that the mesh gives them."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError


def vertex_edge_loss(points: Tensor, target: Tensor, edges: Tensor) -> Tensor:
    """Penalise the difference of edge vectors, Σ(ê − e)² averaged over edges and batch.

    Args:
        points: predicted vertices (B, N, D).
        target: true vertices (B, N, D).
        edges: vertex pairs (E, 2) of the mesh over these N points, from :func:`unique_edges`.

    Source: dense-landmark thesis (2022), loss "VE"; the mean in place of the sum keeps its weight independent of N.
    """
    if points.shape != target.shape:
        raise InputError(f"points {tuple(points.shape)} and target {tuple(target.shape)} differ in shape")
    error = points - target
    return (error[:, edges[:, 0]] - error[:, edges[:, 1]]).square().sum(-1).mean()


def unique_edges(faces: Tensor) -> Tensor:
    """List every undirected edge of ``faces`` (F, 3) once, as (E, 2) with the lower index first, sorted."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return torch.unique(edges.sort(dim=1).values, dim=0)
