"""The loss of the detail stage: displacements that explain the picture in texture space (Feng et al. 2021, 4.2).

Synthetic people have a true relief as well; where a batch brings it, displacements are compared with it directly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.data.augment import CropBatch
from facezoo.heads import HeadModel
from facezoo.models.deca import losses_coarse
from facezoo.models.deca import losses_detail as losses
from facezoo.models.deca.camera import to_screen
from facezoo.models.deca.codes import DecaCodes
from facezoo.models.deca.config import DecaLossConfig
from facezoo.models.deca.consistency import doubled, exchange
from facezoo.models.deca.id_mrf import IdMrf
from facezoo.models.deca.net import DecaNet, DecaOutput
from facezoo.models.deca.painter import FacePainter
from facezoo.models.deca.relief import SkinTexels, true_relief
from facezoo.models.deca.space import fixed_ids
from facezoo.models.deca.uv_detail import UvSurface
from facezoo.render import Fragments, bake_uv


class DetailCriterion(nn.Module):
    """Weighted terms of displacements; shape, pose, albedo and light are given and get no gradient."""

    def __init__(
        self,
        weights: DecaLossConfig,
        net: DecaNet,
        painter: FacePainter,
        surface: UvSurface,
        style: IdMrf | None,
    ) -> None:
        """Build the loss; ``style`` is needed by the ID-MRF term."""
        super().__init__()
        self.weights, self.painter, self.surface, self.style = weights, painter, surface, style
        self.box = losses.patch_box(surface.mask)
        self.texels = SkinTexels(net.space.head, surface, fixed_ids(net.space.head, net.config.points))
        self._net = (net,)

    def forward(self, output: DecaOutput, batch: CropBatch) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        (net,), w = self._net, self.weights
        codes = DecaCodes(*(part.detach() for part in net.split(output.codes)))
        displacement = output.displacement
        if w.pictures > 1:  # the same person's other code must explain the same picture, and its relief
            rows = exchange(len(batch.images), w.pictures).to(displacement.device)
            others = net.displacement(codes, output.detail[rows])
            displacement = torch.cat([displacement, others])
            codes = DecaCodes(*(doubled(part) for part in codes))
            batch = CropBatch(*(doubled(part) for part in batch))
        return self._relief(displacement, batch) | self._picture(codes, displacement, batch.images)

    def _relief(self, displacement: Tensor, batch: CropBatch) -> dict[str, Tensor]:
        """Compare displacements with the truth."""
        w = self.weights
        if not (w.label_displacement or w.label_slopes):
            return {}
        truth = true_relief(batch, displacement.shape[-1])
        weight = self.texels.weights(batch.visible, batch.displacement_known)
        height, slope = self.texels.losses(displacement, truth, weight)
        return {"label_displacement": w.label_displacement * height, "label_slopes": w.label_slopes * slope}

    def _picture(self, codes: DecaCodes, displacement: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Compare pictures, and keep displacements plain."""
        w, config = self.weights, self._net[0].config
        official, side = config.official, displacement.shape[-1]
        terms = {}
        if w.detail_size:
            terms["detail_size"] = w.detail_size * losses.size_loss(displacement / config.max_displacement)
        if not (w.detail_pixels or w.detail_style or w.detail_symmetry or w.detail_smooth):
            return terms
        rows = self._painted(len(images))
        codes, displacement = DecaCodes(*(part[rows] for part in codes)), displacement[rows]
        texture, shading, truth, seen = self.unwrapped(codes, displacement, images[rows])
        cut = [losses.patch(x, self.box, side) for x in (texture, truth, seen)]
        if w.detail_pixels:
            terms["detail_pixels"] = w.detail_pixels * losses_coarse.photometric_loss(*cut, official=official)
        if w.detail_style and self.style is not None:
            terms["detail_style"] = w.detail_style * self.style(cut[0] * cut[2], cut[1] * cut[2])
        if w.detail_symmetry:
            terms["detail_symmetry"] = w.detail_symmetry * losses.soft_symmetry_loss(
                displacement / config.max_displacement, seen, official=official
            )
        if w.detail_smooth:
            terms["detail_smooth"] = w.detail_smooth * losses.smoothness_loss(shading)
        return terms

    def _painted(self, rows: int) -> Tensor:
        """Return the rows whose pictures are compared: the first, and with exchanged codes the same ones again."""
        pictures = rows // 2 if self.weights.pictures > 1 else rows
        first = torch.arange(min(self.weights.painted or pictures, pictures))
        return first if pictures == rows else torch.cat([first, first + pictures])

    def unwrapped(
        self, codes: DecaCodes, displacement: Tensor, images: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return predicted texture, its shading, the picture's texture (B, 3, H, W) and what is seen (B, 1, H, W)."""
        (net,) = self._net
        head, side = net.space.head, displacement.shape[-1]
        with torch.no_grad():
            vertices = net.space.vertices(codes)
            position, normal = self.surface.maps(vertices)
            albedo = F.interpolate(
                self.painter.albedo(codes.albedo), size=(side, side), mode="bilinear", align_corners=False
            )
            truth, seen = _from_picture(
                head, images, to_screen(vertices, codes.camera, images.shape[-1]), self.surface
            )
            seen = seen * self.surface.mask
        moved = self.surface.displace(position, normal, displacement)
        normals = self.surface.normals(moved, normal).permute(0, 2, 3, 1)
        texture = self.painter.lit(albedo, normals, codes.light)
        shading = self.painter.lit(torch.ones_like(albedo), normals, codes.light)
        return texture, shading, truth, seen


def _from_picture(
    head: HeadModel, images: Tensor, screen: Tensor, surface: UvSurface
) -> tuple[Tensor, Tensor]:
    """Unwrap pictures onto the texture: colours (B, 3, H, W) and the visible texels (B, 1, H, W)."""
    topology, side = head.topology, surface.face_index.shape[-1]
    layout = Fragments(surface.face_index, surface.bary, torch.zeros_like(surface.bary[..., 0]))
    texture, seen = bake_uv(
        images, screen, topology.faces, topology.uv.float(), topology.uv_faces, (side, side), layout=layout
    )
    return texture, seen.to(texture.dtype)
