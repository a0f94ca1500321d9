"""A displacement as a tangent-space normal map, so that a light mesh shows its wrinkles in any viewer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facezoo.mesh.io.glb import NormalMap
from facezoo.mesh.normals import vertex_normals
from facezoo.render.bump import bumped_normals, texture_gradient, texture_tangents
from facezoo.render.interpolation import interpolate
from facezoo.render.texture import uv_fragments


@torch.no_grad()
def bake_normal_map(
    vertices: Tensor, faces: Tensor, uv: Tensor, uv_faces: Tensor, displacement: Tensor, side: int = 512
) -> NormalMap:
    """Turn a displacement into a normal map for the mesh that it displaces.

    Args:
        vertices: (V, 3) metres.
        faces, uv_faces: (F, 3).
        uv: (T, 2), v up.
        displacement: (1, h, w) metres along the vertex normals, row 0 at v = 1.
        side: of the map in texels.

    Returns:
        The map and the tangents that it is meant for.
    """
    vertices, uv, displacement = (x.detach().float().cpu() for x in (vertices, uv, displacement))
    faces, uv_faces = faces.cpu(), uv_faces.cpu()
    normals = vertex_normals(vertices, faces)
    moves = texture_tangents(vertices, faces, uv, uv_faces)
    tangents = _unit_tangents(normals, moves, faces, uv_faces)

    layout = uv_fragments(uv, uv_faces, (side, side))
    normal = F.normalize(interpolate(layout, faces, normals[None])[0], dim=-1).view(-1, 3)
    packed = interpolate(layout, uv_faces, torch.cat([moves, tangents], 1)[None])[0].view(-1, 10)
    if displacement.shape[-2:] != (side, side):
        displacement = F.interpolate(
            displacement[None], size=(side, side), mode="bicubic", align_corners=False
        )[0]
    gradient = texture_gradient(displacement[0]).view(2, -1).T
    wanted = bumped_normals(normal, packed[:, :6], gradient)
    # The axes that a viewer interpolates at this texel, not quite square to each other.
    tangent = F.normalize(packed[:, 6:9], dim=1)
    bitangent = F.normalize(torch.linalg.cross(normal, tangent), dim=1) * packed[:, 9:].sign()
    inside = (layout.face_index[0] >= 0).flatten()
    shares = torch.tensor([0.0, 0.0, 1.0]).repeat(side * side, 1)
    axes = torch.stack([tangent, bitangent, normal], 2)[inside]
    shares[inside] = F.normalize(torch.linalg.solve(axes, wanted[inside]), dim=1)
    pixels = ((shares * 0.5 + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
    return NormalMap(pixels.view(side, side, 3).numpy(), tangents.numpy())


def _unit_tangents(normals: Tensor, moves: Tensor, faces: Tensor, uv_faces: Tensor) -> Tensor:
    """Return (T, 4) unit directions of growing u, square to the normal, and the side on which v grows."""
    vertex = torch.zeros(len(moves), dtype=torch.long)
    vertex[uv_faces.flatten()] = faces.flatten()
    normal = normals[vertex]
    along = moves[:, :3] - (moves[:, :3] * normal).sum(1, keepdim=True) * normal
    spare = torch.zeros_like(normal)  # where the texture has no extent any direction will do
    spare.scatter_(1, normal.abs().argmin(1, keepdim=True), 1)
    spare = spare - (spare * normal).sum(1, keepdim=True) * normal
    flat = along.norm(dim=1, keepdim=True) < 1e-9
    tangent = F.normalize(torch.where(flat, spare, along), dim=1)
    side = (torch.linalg.cross(normal, tangent) * moves[:, 3:]).sum(1, keepdim=True)
    return torch.cat([tangent, torch.where(side < 0, -1.0, 1.0)], 1)
