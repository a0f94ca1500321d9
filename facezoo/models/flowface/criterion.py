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
from facezoo.models.flowface.uv import TextureLayout, texel_values, texture_layout


class FlowFaceCriterion(nn.Module):
    """Weighted loss terms of a :class:`FlowFaceOutput` against a :class:`CropBatch`."""

    vertex_area: Tensor
    texel_area: Tensor
    texel_face: Tensor
    texel_bary: Tensor

    def __init__(self, weights: FlowFaceLossConfig, config: FlowFaceConfig, head: HeadModel) -> None:
        super().__init__()
        self.weights, self.with_depth = weights, config.depth
        self.labels = VertexLabels(head, config.crop_size)
        layout = texture_layout(head, config.uv_size * config.uv_factor)
        for name in ("vertex_area", "texel_area", "texel_face", "texel_bary"):
            self.register_buffer(name, getattr(layout, name).to(head.v_template.device), persistent=False)
        self.vertex_uv = layout.vertex_uv

    def forward(self, output: FlowFaceOutput, batch: CropBatch) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        w = self.weights
        points, depth, known = self.labels(batch)
        target = torch.cat((points, depth), 2)
        area = self.vertex_area[None] * known[:, None]
        terms = dict.fromkeys(("vertices", "uv_map", "direct", "depth"), points.new_zeros(()))
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
