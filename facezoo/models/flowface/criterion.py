"""The training loss: a Gaussian likelihood after every iteration, uniform over the head's surface."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.data.augment import CropBatch
from facezoo.heads.model import HeadModel
from facezoo.losses import gaussian_nll
from facezoo.losses.likelihood import weighted_mean
from facezoo.models.flowface.config import FlowFaceConfig, FlowFaceLossConfig
from facezoo.models.flowface.labels import VertexLabels
from facezoo.models.flowface.net import FlowFaceOutput
from facezoo.models.flowface.uv import (
    TextureLayout,
    filled_corners,
    interpolate,
    texel_values,
    texture_layout,
)


class FlowFaceCriterion(nn.Module):
    """Weighted loss terms of a :class:`FlowFaceOutput` against a :class:`CropBatch`."""

    vertex_area: Tensor
    texel_area: Tensor
    texel_face: Tensor
    texel_bary: Tensor
    coarse_corners: Tensor
    coarse_bary: Tensor
    coarse_occupied: Tensor

    def __init__(self, weights: FlowFaceLossConfig, config: FlowFaceConfig, head: HeadModel) -> None:
        super().__init__()
        self.weights, self.with_depth = weights, config.depth
        self.with_guess = config.first_guess != "mean"
        self.labels = VertexLabels(head, config.crop_size)
        layout = texture_layout(head, config.uv_size * config.uv_factor)
        face = torch.zeros_like(layout.vertex_area)
        face[head.topology.subset(config.points).cpu()] = len(face) / config.points
        layout = layout._replace(vertex_area=(1 - weights.face) * layout.vertex_area + weights.face * face)
        for name in ("vertex_area", "texel_area", "texel_face", "texel_bary"):
            self.register_buffer(name, getattr(layout, name).to(head.v_template.device), persistent=False)
        self.vertex_uv = layout.vertex_uv
        self.cells = config.crop_size // config.stride
        coarse = texture_layout(head, config.uv_size)
        corners, bary = filled_corners(coarse, head.topology.faces.cpu())
        self.register_buffer("coarse_corners", corners.to(head.v_template.device), persistent=False)
        self.register_buffer("coarse_bary", bary.to(head.v_template), persistent=False)
        occupied = (coarse.texel_area > 0).flatten().to(head.v_template)
        self.register_buffer("coarse_occupied", occupied, persistent=False)

    def forward(self, output: FlowFaceOutput, batch: CropBatch) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        w = self.weights
        points, depth, known = self.labels(batch)
        target = torch.cat((points, depth), 2)
        area = self.vertex_area[None] * known[:, None]
        terms = dict.fromkeys(("vertices", "uv_map", "direct", "depth"), points.new_zeros(()))
        if w.guess and self.with_guess:
            distance = ((output.guess - target).square().sum(2) + 1e-10).sqrt()
            terms["guess"] = 100 * w.guess * weighted_mean(distance, area)
        if w.match:
            terms["match"] = w.match * self._mismatch(output.match, target, known)
        count = output.steps.shape[1]
        if w.uv_map:
            layout = TextureLayout(
                self.vertex_uv, self.vertex_area, self.texel_face, self.texel_bary, self.texel_area
            )
            dense = texel_values(layout, self.labels.head.topology.faces, target).flatten(2).mT
            texels = self.texel_area.flatten()[None] * known[:, None]
        for step in range(count):
            share = w.decay ** (count - 1 - step)
            place, far, log_sigma = output.steps[:, step].split((2, 1, 1), 2)
            terms["vertices"] = terms["vertices"] + share * w.vertices * gaussian_nll(
                place, log_sigma, points, area
            )
            if w.uv_map:
                mapped = output.maps[:, step].flatten(2).mT
                nll = gaussian_nll(mapped[..., :2], mapped[..., 3:], dense[..., :2], texels)
                terms["uv_map"] = terms["uv_map"] + share * w.uv_map * nll
            distance = ((place - points).square().sum(2) + 1e-10).sqrt()
            terms["direct"] = terms["direct"] + share * w.direct * 100 * weighted_mean(distance, area)
            if self.with_depth:
                miss = (far - depth).abs()[..., 0]
                terms["depth"] = terms["depth"] + share * w.depth * 100 * weighted_mean(miss, area)
        return terms

    def _mismatch(self, match: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the cross entropy of cells (B, U U, H W) with true places, which weigh the four cells around them."""
        n = self.cells
        place = interpolate(target, self.coarse_corners, self.coarse_bary)[:, :2].flatten(2)
        place = (place + 0.5) * n - 0.5
        inside = ((place > -0.5) & (place < n - 0.5)).all(1) * self.coarse_occupied * known[:, None]
        place = place.clamp(0, n - 1)
        corner = place.floor().clamp(max=n - 2)
        (x, y), (u, v) = corner.long().unbind(1), (place - corner).unbind(1)
        loss = torch.zeros_like(u)
        for column, across in ((x, 1 - u), (x + 1, u)):
            for row, down in ((y, 1 - v), (y + 1, v)):
                found = match.gather(2, (row * n + column)[..., None])[..., 0]
                loss = loss - across * down * found
        return weighted_mean(loss, inside)
