"""The loss of the coarse stage: labels of synthetic people where there are some, the paper's own terms everywhere."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.data.augment import CropBatch
from facezoo.geometry.crop_pose import encode_pose
from facezoo.geometry.rotations import axis_angle_to_matrix, matrix_from_6d, matrix_to_axis_angle
from facezoo.losses import normalized_smooth_l1, rotation_loss
from facezoo.models.deca import losses_coarse as losses
from facezoo.models.deca.camera import fit_camera
from facezoo.models.deca.codes import DecaCodes, join_codes
from facezoo.models.deca.config import DecaLossConfig
from facezoo.models.deca.consistency import exchange, swapped
from facezoo.models.deca.frozen import IdentityFeatures
from facezoo.models.deca.net import DecaNet, DecaOutput
from facezoo.models.deca.painter import FacePainter
from facezoo.models.deca.space import fixed_ids


class DecaTargets(NamedTuple):
    """Labels in the codes' terms; albedo and light, which samples do not know, are zero.

    Attributes:
        codes: true codes.
        identity_known, expression_known: (B,) 1 where they hold for this crop.
    """

    codes: DecaCodes
    identity_known: Tensor
    expression_known: Tensor


@torch.no_grad()
def true_codes(net: DecaNet, batch: CropBatch) -> DecaTargets:
    """Express labels as codes.

    Crops of a perspective camera show a head turned as it is seen along the ray to it; the weak camera is the one that
    shows its landmarks nearest to where they are.
    """
    config = net.config
    rotation6d, _ = encode_pose(batch.R, batch.t, batch.K, config.crop_size)
    turn = batch.R.new_tensor([1.0, -1.0, -1.0])[:, None] * matrix_from_6d(rotation6d)
    zeros = batch.R.new_zeros(len(batch.R), config.n_albedo)
    codes = DecaCodes(
        shape=batch.identity[:, : config.n_identity],
        albedo=zeros,
        expression=batch.expression[:, : config.n_expression],
        pose=torch.cat([matrix_to_axis_angle(turn), batch.jaw], 1),
        camera=zeros.new_zeros(len(zeros), 3),
        light=zeros.new_zeros(len(zeros), 9, 3),
    )
    camera = fit_camera(net.space.landmarks(codes), 2 * batch.landmarks68)
    return DecaTargets(codes._replace(camera=camera), batch.identity_known, batch.expression_known)


class DecaCriterion(nn.Module):
    """Weighted loss terms of a :class:`~facezoo.models.deca.net.DecaOutput` against a :class:`CropBatch`."""

    def __init__(
        self,
        weights: DecaLossConfig,
        net: DecaNet,
        painter: FacePainter | None,
        judge: IdentityFeatures | None,
    ) -> None:
        """Build the loss.

        Args:
            weights: weight of each term; terms of weight 0 are not computed.
            net: its space has no parameters, and its code spreads are the units of the label terms.
            painter: needed by pixel and identity terms.
            judge: needed by the identity term.
        """
        super().__init__()
        self.weights, self.painter, self.judge = weights, painter, judge
        self._net = (net,)  # not a part: the optimiser gets its parameters from the model
        self.ids = fixed_ids(net.space.head, net.config.points)

    def forward(self, output: DecaOutput, batch: CropBatch) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        (net,) = self._net
        codes = net.split(output.codes)
        terms = self._labels(net, codes, batch)
        if self.weights.pictures > 1:
            rows = exchange(len(batch.images), self.weights.pictures)
            doubled = {name: torch.cat([part, part]) for name, part in codes._asdict().items()}
            codes = DecaCodes(**{**doubled, "shape": swapped(codes.shape, rows)})
            batch = CropBatch(*(torch.cat([part, part]) for part in batch))
        return (
            terms | self._geometry(net, codes, batch) | self._picture(net, codes, batch) | self._sizes(codes)
        )

    def _labels(self, net: DecaNet, codes: DecaCodes, batch: CropBatch) -> dict[str, Tensor]:
        """Compare codes with labels."""
        w = self.weights
        if not (w.label_shape or w.label_expression or w.label_jaw or w.label_rotation):
            return {}
        truth, std = true_codes(net, batch), net.split(net.codes_std[None])
        terms = {}
        if w.label_shape:
            terms["label_shape"] = w.label_shape * normalized_smooth_l1(
                codes.shape, truth.codes.shape, std.shape[0], truth.identity_known
            )
        if w.label_expression:
            terms["label_expression"] = w.label_expression * normalized_smooth_l1(
                codes.expression, truth.codes.expression, std.expression[0], truth.expression_known
            )
        if w.label_jaw:
            terms["label_jaw"] = w.label_jaw * normalized_smooth_l1(
                codes.pose[:, 3:], truth.codes.pose[:, 3:], std.pose[0, 3:]
            )
        if w.label_rotation:
            turns = (axis_angle_to_matrix(c.pose[:, :3]) for c in (codes, truth.codes))
            terms["label_rotation"] = w.label_rotation * rotation_loss(*turns)
        return terms

    def _geometry(self, net: DecaNet, codes: DecaCodes, batch: CropBatch) -> dict[str, Tensor]:
        """Compare landmarks, lids, lips and dense points, in units where the crop spans [-1, 1]."""
        w, space = self.weights, net.space
        points = 2 * space.place(space.landmarks(codes), codes)
        target = 2 * batch.landmarks68
        terms = {}
        if w.landmarks:
            terms["landmarks"] = w.landmarks * losses.landmark_loss(
                points, target, losses.landmark_weights(points)
            )
        for name, weight, pairs in (("eyes", w.eyes, losses.EYE_PAIRS), ("lips", w.lips, losses.LIP_PAIRS)):
            if weight:
                terms[name] = weight * losses.closure_loss(points, target, pairs)
        if w.points and self.ids is not None:
            self.ids = self.ids.to(points.device)
            dense = 2 * space.place(space.vertices(codes, self.ids), codes)
            terms["points"] = w.points * losses.landmark_loss(dense, 2 * batch.points)
        return terms

    def _picture(self, net: DecaNet, codes: DecaCodes, batch: CropBatch) -> dict[str, Tensor]:
        """Compare pixels and identity."""
        w = self.weights
        if not (w.pixels or w.identity) or self.painter is None:
            return {}
        rows = slice(0, w.painted or None)
        codes = DecaCodes(*(part[rows] for part in codes))
        image, size = batch.images[rows], w.picture_size or net.config.crop_size
        if size != image.shape[-1]:
            image = F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)
        painted = self.painter(net.space.vertices(codes), codes, size)
        terms, official = {}, net.config.official
        if w.pixels:
            terms["pixels"] = w.pixels * losses.photometric_loss(
                painted.image, image, painted.mask, official=official
            )
        if w.identity and self.judge is not None:
            overlay = painted.overlay * painted.mask + image * (1 - painted.mask)
            terms["identity"] = w.identity * losses.identity_loss(
                self.judge(overlay), self.judge(image).detach()
            )
        return terms

    def _sizes(self, codes: DecaCodes) -> dict[str, Tensor]:
        """Keep codes small and light white."""
        w, official = self.weights, self._net[0].config.official
        terms = {
            name: weight * losses.code_loss(part, official=official)
            for name, weight, part in (
                ("size_shape", w.size_shape, codes.shape),
                ("size_expression", w.size_expression, codes.expression),
                ("size_albedo", w.size_albedo, codes.albedo),
            )
            if weight
        }
        if w.light:
            terms["light"] = w.light * losses.light_loss(codes.light)
        return terms


def target_vector(net: DecaNet, batch: CropBatch) -> Tensor:
    """Return the labels as code vectors (B, P), for the statistics that training starts from."""
    return join_codes(true_codes(net, batch).codes)
