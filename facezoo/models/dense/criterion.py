"""The training loss of dense landmarks: a likelihood of the points, plain distance, mesh edges, head estimate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.data.augment import CropBatch
from facezoo.geometry.crop_pose import encode_pose
from facezoo.geometry.rotations import matrix_from_6d
from facezoo.losses import (
    RealNVP,
    gaussian_nll,
    laplace_nll,
    normalized_smooth_l1,
    rle_loss,
    rotation_loss,
    vertex_edge_loss,
)
from facezoo.models.dense.config import DenseLossConfig
from facezoo.models.dense.net import DenseNet, DenseOutput


class DenseCriterion(nn.Module):
    """Weighted loss terms of a :class:`DenseOutput` against a :class:`CropBatch`."""

    params_std: Tensor
    edges: Tensor | None

    def __init__(self, weights: DenseLossConfig, net: DenseNet, edges: Tensor | None = None) -> None:
        """Build the loss.

        Args:
            weights: weight of each term; terms of weight 0 are not computed.
            net: its parameter spreads are the units of the parameter losses.
            edges: (E, 2) mesh edges of the dense points, needed when ``weights.vertex_edge`` is not 0.
        """
        super().__init__()
        self.weights = weights
        self.size = net.config.crop_size
        self.split = net.sizes
        self.register_buffer("params_std", net.params_std)  # the same tensor, so it follows start_from
        self.register_buffer("edges", edges, persistent=False)
        self.flow = RealNVP() if weights.name.startswith("rle") else None

    def forward(self, output: DenseOutput, batch: CropBatch) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        w = self.weights
        terms: dict[str, Tensor] = {}
        groups = (
            ("dense", w.dense, output.points, output.log_sigma, batch.points),
            ("landmarks68", w.landmarks68, output.landmarks68, output.log_sigma68, batch.landmarks68),
            ("contour68", w.contour68, output.contour68, output.log_sigma_contour68, batch.contour68),
        )
        for name, weight, points, log_sigma, target in groups:
            if weight:
                terms[name] = weight * self._likelihood(points, log_sigma, target)
                if w.direct:
                    distance = ((points - target).square().sum(-1) + 1e-10).sqrt().mean()
                    terms["direct"] = terms.get("direct", 0) + weight * w.direct * 100 * distance
        if w.vertex_edge:
            assert self.edges is not None
            terms["vertex_edge"] = (
                w.vertex_edge * 1e4 * vertex_edge_loss(output.points, batch.points, self.edges)
            )
        return terms | self._head_terms(output, batch)

    def _likelihood(self, points: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
        if self.flow is not None:
            sigma = log_sigma.exp().expand_as(points)
            return rle_loss(points, sigma, target, self.flow, compat=self.weights.compat)
        nll = gaussian_nll if self.weights.name == "gaussian" else laplace_nll
        return nll(points, log_sigma, target)

    def _head_terms(self, output: DenseOutput, batch: CropBatch) -> dict[str, Tensor]:
        w = self.weights
        identity_std, expression_std, jaw_std, _, placement_std = torch.split(self.params_std, self.split)
        rotation6d, placement = encode_pose(batch.R, batch.t, batch.K, self.size)
        terms = {}
        if w.identity:
            terms["identity"] = w.identity * normalized_smooth_l1(
                output.identity, batch.identity, identity_std, batch.identity_known
            )
        if w.expression:
            terms["expression"] = w.expression * normalized_smooth_l1(
                output.expression, batch.expression, expression_std, batch.expression_known
            )
        if w.jaw:
            terms["jaw"] = w.jaw * normalized_smooth_l1(output.jaw, batch.jaw, jaw_std)
        if w.rotation:
            terms["rotation"] = w.rotation * rotation_loss(
                matrix_from_6d(output.rotation6d), matrix_from_6d(rotation6d)
            )
        if w.placement:
            terms["placement"] = w.placement * normalized_smooth_l1(
                output.placement, placement, placement_std
            )
        return terms
