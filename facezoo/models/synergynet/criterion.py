"""The five losses of SynergyNet, all on whitened parameters and on landmarks in pixels of a 120 px crop."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facezoo.data.augment import CropBatch
from facezoo.heads import HeadParams
from facezoo.models.synergynet.config import POSE, SynergyLossConfig
from facezoo.models.synergynet.net import SynergyTraining
from facezoo.models.synergynet.space import FaceSpace, fit_pose

OMEGA, EPSILON = 10.0, 2.0
_PAPER_CROP = 120.0  # side in pixels that OMEGA and EPSILON are meant for
_TINY = 1e-12  # under the roots, where the gradient would have no end


class SynergyTargets(NamedTuple):
    """Truth in the network's terms.

    Attributes:
        raw: (B, P) pose and codes, not whitened.
        landmarks: (B, 68, 3) crop pixels: x, y as annotated, z of the true head in that pose.
        known: (B, P) 1 where a parameter is true for this crop.
    """

    raw: Tensor
    landmarks: Tensor
    known: Tensor


@torch.no_grad()
def true_parameters(space: FaceSpace, batch: CropBatch) -> SynergyTargets:
    """Express labels as pose and codes of the 3DMM.

    The pose is fitted to the labelled points (:func:`~facezoo.models.synergynet.space.fit_pose`): a 3DMM has no
    perspective, the pictures have.
    """
    config = space.config
    identity, expression = batch.identity[:, : config.n_identity], batch.expression[:, : config.n_expression]
    jaw = batch.jaw if config.jaw else None
    points = space.landmarks(HeadParams(identity=identity, expression=expression, jaw=jaw))
    pixels = (batch.landmarks68 + 0.5) * config.crop_size
    pose = fit_pose(points, pixels, config.crop_size)
    depth = (points @ pose[:, 2:, :3].mT) + pose[:, None, 2:, 3]
    first = 0.5 if config.official else 0.0  # the released code counts its first pixel as 1
    known = torch.cat(
        [
            torch.ones_like(pose.flatten(1)),
            batch.identity_known[:, None].expand(-1, config.shape_rank),
            batch.expression_known[:, None].expand(-1, config.expression_rank),
        ],
        1,
    )
    if config.official:
        pose[:, 0, 3] += first
        pose[:, 1, 3] += 1 - first
    raw = torch.cat([pose.flatten(1), *space.encode(identity, expression, batch.jaw)], 1)
    return SynergyTargets(raw, torch.cat([pixels + first, depth], 2), known)


class SynergyCriterion(nn.Module):
    """Weighted loss terms of a :class:`~facezoo.models.synergynet.net.SynergyTraining` against a batch."""

    subset: Tensor | None

    def __init__(self, weights: SynergyLossConfig, space: FaceSpace) -> None:
        """Build the loss.

        Args:
            weights: weight of each term; terms of weight 0 are not computed.
            space: of the network; it has no parameters, so it is shared and not trained twice.
        """
        super().__init__()
        self.weights, self.space = weights, space
        subset = space.head.topology.subset(space.config.points) if weights.dense else None
        self.register_buffer("subset", subset, persistent=False)

    def forward(self, output: SynergyTraining, batch: CropBatch) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        w, truth = self.weights, true_parameters(self.space, batch)
        target = self.space.whiten(truth.raw)
        unit = _PAPER_CROP / self.space.config.crop_size
        terms: dict[str, Tensor] = {}
        if w.landmarks:
            terms["landmarks"] = w.landmarks * wing_loss(unit * output.landmarks, unit * truth.landmarks)
        if w.refined:
            terms["refined"] = w.refined * wing_loss(unit * output.refined, unit * truth.landmarks)
        if w.contour:
            contour = (batch.contour68 + 0.5) * self.space.config.crop_size
            terms["contour"] = w.contour * wing_loss(unit * output.contour, unit * contour)
        if w.dense:
            points = (batch.points + 0.5) * self.space.config.crop_size
            dense = self.space.reconstruct_dense(output.params, self.subset)[..., :2]
            terms["dense"] = w.dense * wing_loss(unit * dense, unit * points)
        if w.params:
            terms["params"] = w.params * parameter_loss(output.params, target, truth.known).mean()
        if w.reverse:
            loss = code_loss(output.reverse, target, truth.known, compat=w.compat)
            terms["reverse"] = w.reverse * loss.mean()
        if w.consistency:
            loss = code_loss(output.reverse, output.params, compat=w.compat)
            terms["consistency"] = w.consistency * loss.mean()
        return terms


def wing_loss(points: Tensor, target: Tensor) -> Tensor:
    """Return the mean Wing loss over all coordinates (Feng et al. 2018): a logarithm near zero, the distance beyond.

    Args:
        points, target: same shape, pixels.
    """
    distance = (points - target).abs()
    beyond = OMEGA - OMEGA * math.log1p(OMEGA / EPSILON)
    near = OMEGA * torch.log1p(distance / EPSILON)
    return torch.where(distance < OMEGA, near, distance - beyond).mean()


def parameter_loss(params: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the root of the mean square errors of pose and of codes added up, (B,)."""
    squares = (params - target).square()
    if known is not None:
        squares = squares * known
    return (squares[:, :POSE].mean(1) + squares[:, POSE:].mean(1) + _TINY).sqrt()


def code_loss(params: Tensor, target: Tensor, known: Tensor | None = None, *, compat: bool = False) -> Tensor:
    """Return the root mean square error of shape and expression codes, (B,).

    Args:
        params: (B, P) whitened.
        target: (B, P).
        known: (B, P) or None.
        compat: the released code's slip: the first P - 12 of ``params`` against the last P - 12 of ``target``.
    """
    read = params[:, : params.shape[1] - POSE] if compat else params[:, POSE:]
    squares = (read - target[:, POSE:]).square()
    if known is not None:
        squares = squares * known[:, POSE:]
    return (squares.mean(1) + _TINY).sqrt()
