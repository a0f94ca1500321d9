"""Losses shared by the methods: likelihoods of points, residual log-likelihood, mesh edges, head parameters."""

from facezoo.losses.edges import unique_edges, vertex_edge_loss
from facezoo.losses.likelihood import gaussian_nll, laplace_nll
from facezoo.losses.params import normalized_smooth_l1, rotation_loss
from facezoo.losses.rle import RealNVP, rle_loss

__all__ = [
    "RealNVP",
    "gaussian_nll",
    "laplace_nll",
    "normalized_smooth_l1",
    "rle_loss",
    "rotation_loss",
    "unique_edges",
    "vertex_edge_loss",
]
