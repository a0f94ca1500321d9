"""Pictures of the coarse head: albedo, light and camera of the codes, drawn by the project's rasteriser."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.errors import AssetError
from facezoo.heads import HeadModel
from facezoo.heads.texture import TextureSpace
from facezoo.mesh import vertex_normals
from facezoo.models.deca.camera import to_screen
from facezoo.models.deca.codes import DecaCodes
from facezoo.render import interpolate, linear_to_srgb, rasterize, sample_texture, shade_sh

_BLACK = 1e-4  # albedo is kept above, so that the sRGB curve has a slope everywhere


class Painted(NamedTuple):
    """A drawn face.

    Attributes:
        image: (B, 3, S, S) sRGB, black outside the head.
        mask: (B, 1, S, S) in [0, 1], skin of the face that is in view; no gradient.
        overlay: (B, 3, S, S) the same face with albedo and light held fixed: gradients reach only the geometry.
    """

    image: Tensor
    mask: Tensor
    overlay: Tensor


class FacePainter(nn.Module):
    """Draw posed heads with their albedo in spherical-harmonic light (Feng et al. 2021, section 3)."""

    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    skin: Tensor

    def __init__(self, head: HeadModel, texture: TextureSpace, *, official: bool = False) -> None:
        """Prepare a head.

        Args:
            head: with texture coordinates and a region ``"face"``.
            texture: albedo space in the head's texture layout.
            official: multiply display colours by light and leave interpolated normals as they are; otherwise light is
                linear, and the picture is encoded as photographs are.

        Raises:
            AssetError: the head lacks what is needed.
        """
        super().__init__()
        topology = head.topology
        if not len(topology.uv) or "face" not in topology.masks:
            raise AssetError(
                f"head {head.head_id!r} has no texture coordinates or no region 'face': it cannot be painted."
            )
        self.texture, self.official = texture, official
        skin = torch.zeros(head.n_vertices, 1)
        skin[topology.masks["face"]] = 1
        for name, value in (
            ("faces", topology.faces),
            ("uv", topology.uv.float()),
            ("uv_faces", topology.uv_faces),
            ("skin", skin),
        ):
            self.register_buffer(name, value, persistent=False)

    def albedo(self, codes: Tensor) -> Tensor:
        """Return albedo textures (B, 3, h, w): linear light, or display colours of official spaces."""
        if self.texture.kind != "open-v1":
            return self.texture(codes)
        basis = self.texture.basis[: codes.shape[1]]
        mixed = self.texture.mean + (codes @ basis.flatten(1)).unflatten(1, self.texture.mean.shape)
        return mixed.permute(0, 3, 1, 2).clamp_min(_BLACK)

    def lit(self, albedo: Tensor, normals: Tensor, light: Tensor) -> Tensor:
        """Shade colours (B, 3, H, W) by normals (B, H, W, 3) in light (B, 9, 3), encoded for display."""
        radiance = albedo * shade_sh(normals, light).permute(0, 3, 1, 2)
        return radiance if self.official else linear_to_srgb(radiance)

    def forward(self, vertices: Tensor, codes: DecaCodes, size: int) -> Painted:
        """Draw posed vertices (B, V, 3) as pictures of ``size`` pixels a side."""
        screen = to_screen(vertices, codes.camera, size)
        fragments = rasterize(screen, self.faces, (size, size), cull_backfaces=True)
        packed = torch.cat(
            [vertex_normals(vertices, self.faces), self.skin.to(vertices).expand(len(vertices), -1, -1)], -1
        )
        normals, skin = interpolate(fragments, self.faces, packed).split([3, 1], -1)
        if not self.official:
            normals = F.normalize(normals, dim=-1)
        uv = interpolate(fragments, self.uv_faces, self.uv.to(vertices))
        colours = sample_texture(self.albedo(codes.albedo).to(vertices), uv)
        seen = (fragments.face_index >= 0).unsqueeze(1)
        image = self.lit(colours, normals, codes.light) * seen
        fixed = sample_texture(self.albedo(codes.albedo.detach()).to(vertices), uv)
        overlay = self.lit(fixed, normals, codes.light.detach()) * seen
        return Painted(image, skin.permute(0, 3, 1, 2).detach(), overlay)
