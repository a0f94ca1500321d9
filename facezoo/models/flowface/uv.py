"""The texture side of the flow: a learned embedding of every UV position, and where vertices and texels lie."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.errors import AssetError
from facezoo.heads.model import HeadModel
from facezoo.render.texture import uv_fragments


class UVEmbedding(nn.Module):
    """A learned picture of the texture, a sum over resolutions; the same for all inputs."""

    def __init__(self, size: int, channels: int, levels: int) -> None:
        super().__init__()
        self.size = size
        self.maps = nn.ParameterList(
            nn.Parameter(torch.randn(1, channels, size >> i, size >> i) / levels**0.5) for i in range(levels)
        )

    def forward(self) -> Tensor:
        """Return (1, channels, size, size)."""
        shape = (self.size, self.size)
        parts = [F.interpolate(m, size=shape, mode="bilinear", align_corners=False) for m in self.maps]
        return torch.stack(parts).sum(0)


class TextureLayout(NamedTuple):
    """How a head's surface lies in its texture.

    Attributes:
        vertex_uv: (V, 2) u to the right, v up; of a vertex on a seam the first of its positions.
        vertex_area: (V,) share of the head's surface, mean 1; zero for eyeballs, which turn on their own.
        texel_face: (S, S) face of each texel of the fine map, -1 where there is none.
        texel_bary: (S, S, 3).
        texel_area: (S, S) surface a texel stands for, mean 1 over the occupied ones; zero elsewhere.
    """

    vertex_uv: Tensor
    vertex_area: Tensor
    texel_face: Tensor
    texel_bary: Tensor
    texel_area: Tensor


def texture_layout(head: HeadModel, size: int) -> TextureLayout:
    """Lay a head out for a map of ``size`` texels a side.

    Raises:
        AssetError: the head has no texture coordinates.
    """
    top = head.topology
    if not len(top.uv):
        raise AssetError(
            f"head {head.head_id!r} has no texture coordinates; flowface needs a head with them."
        )
    faces, uv_faces, uv = top.faces.cpu(), top.uv_faces.cpu(), top.uv.cpu().float()
    first = torch.full((head.n_vertices,), len(uv), dtype=torch.long)
    first.scatter_reduce_(0, faces.flatten(), uv_faces.flatten(), "amin")
    vertex_uv = torch.where((first < len(uv))[:, None], uv[first.clamp(max=len(uv) - 1)], 0.5)

    corners = head.v_template.cpu()[faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    turning = torch.zeros(head.n_vertices, dtype=torch.bool)
    for name in ("left_eyeball", "right_eyeball"):
        if name in top.masks:
            turning[top.masks[name].cpu()] = True
    area = area * ~turning[faces].any(1)
    vertex_area = torch.zeros(head.n_vertices).index_add_(0, faces.flatten(), area.repeat_interleave(3) / 3)

    layout = uv_fragments(uv, uv_faces, (size, size))
    face = layout.face_index[0]
    texels = torch.bincount(face[face >= 0], minlength=len(faces)).clamp(min=1)
    texel_area = torch.where(face >= 0, (area / texels)[face.clamp(min=0)], 0.0)
    return TextureLayout(
        vertex_uv,
        vertex_area / vertex_area.mean(),
        face,
        layout.bary[0],
        texel_area / texel_area[face >= 0].mean(),
    )


def texel_values(layout: TextureLayout, faces: Tensor, vertices: Tensor) -> Tensor:
    """Interpolate vertex values (B, V, C) to the texels: (B, C, S, S), anything where no face is."""
    return interpolate(
        vertices, faces[layout.texel_face.clamp(min=0)], layout.texel_bary[..., None].to(vertices)
    )


def filled_corners(layout: TextureLayout, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vertices (S, S, 3) that texels lie between and their weights (S, S, 3, 1), all texels having some.

    A texel where no face is has those of the nearest that has one, so that maps have no edges.
    """
    empty = (layout.texel_face < 0).cpu().numpy()
    rows, columns = distance_transform_edt(empty, return_distances=False, return_indices=True)
    near = torch.from_numpy(np.ascontiguousarray(rows)), torch.from_numpy(np.ascontiguousarray(columns))
    return faces[layout.texel_face[near]].clone(), layout.texel_bary[near][..., None].clone()


def interpolate(vertices: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """Interpolate vertex values (B, V, C) at the texels of :func:`filled_corners`: (B, C, S, S)."""
    values = vertices.new_zeros(())
    for k in range(3):
        values = values + vertices[:, corners[..., k]] * weights[..., k, :]
    return values.permute(0, 3, 1, 2)


def read_map(maps: Tensor, uv: Tensor) -> Tensor:
    """Read maps (B, C, S, S) at texture positions (N, 2): (B, N, C)."""
    grid = (uv * uv.new_tensor([2.0, -2.0]) + uv.new_tensor([-1.0, 1.0])).expand(maps.shape[0], 1, -1, -1)
    read = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return read[:, :, 0].mT
