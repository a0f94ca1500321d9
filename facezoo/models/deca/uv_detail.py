"""Displacements in texture space: from a map along the normals to detailed positions, normals and meshes.

All maps are (B, C, H, W), row 0 at the top of the texture (v = 1).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.errors import AssetError
from facezoo.heads import HeadModel
from facezoo.mesh import Mesh, vertex_normals
from facezoo.mesh.subdivide import subdivide
from facezoo.render import Fragments, interpolate, sample_texture, uv_fragments

# Rows and columns that the released code leaves out at the borders, for its texture layout.
_OFFICIAL_MARGINS = (2, 5)
_OFFICIAL_EPS = 1e-6


class UvSurface(nn.Module):
    """The texture layout of a head at one resolution; no checkpoint carries it."""

    faces: Tensor
    face_index: Tensor
    bary: Tensor
    mask: Tensor
    grid: Tensor
    fixed: Tensor | None

    def __init__(
        self,
        head: HeadModel,
        size: int,
        *,
        mask: Tensor | None = None,
        fixed: Tensor | None = None,
        official: bool = False,
    ) -> None:
        """Rasterise the layout once.

        Args:
            head: with texture coordinates.
            size: side of the maps.
            mask: (H, W) where detail lives, in [0, 1]; by default the head's region ``"face"``, fading out within the
                triangles around it.
            fixed: (H, W) displacement in metres that every face gets (the released model's mesh against a smooth one).
            official: triangulate and normalise as the released code does.

        Raises:
            AssetError: the head has no texture coordinates or no face region.
        """
        super().__init__()
        topology = head.topology
        if not len(topology.uv):
            raise AssetError(f"head {head.head_id!r} has no texture coordinates, so it can carry no detail.")
        self.official = official
        self.register_buffer("faces", topology.faces, persistent=False)
        layout = uv_fragments(topology.uv.float(), topology.uv_faces, (size, size))
        self.register_buffer("face_index", layout.face_index, persistent=False)
        self.register_buffer("bary", layout.bary, persistent=False)
        if mask is None:
            if "face" not in topology.masks:
                raise AssetError(f"head {head.head_id!r} has no region 'face'; give mask=.")
            weight = torch.zeros(head.n_vertices, 1)
            weight[topology.masks["face"]] = 1
            mask = interpolate(layout, topology.faces, weight)[0, ..., 0]
        self.register_buffer("mask", mask[None, None].float(), persistent=False)
        self.register_buffer("fixed", None if fixed is None else fixed[None, None].float(), persistent=False)
        grid = dense_faces(size, size, _OFFICIAL_MARGINS if official else (0, 0))
        if not official:  # a triangle across a gap of the layout would join places that are not neighbours
            inside = ((layout.face_index[0] >= 0) & (mask > 0)).flatten()
            grid = grid[inside[grid].all(1)]
        self.register_buffer("grid", grid, persistent=False)

    def maps(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Unwrap vertices (B, V, 3): positions and unit vertex normals (B, 3, H, W), 0 where the layout is empty."""
        normals = vertex_normals(vertices, self.faces)
        packed = interpolate(self._layout(len(vertices)), self.faces, torch.cat([vertices, normals], -1))
        position, normal = packed.permute(0, 3, 1, 2).split(3, 1)
        return position, normal if self.official else F.normalize(normal, dim=1)

    def displace(self, position: Tensor, normal: Tensor, displacement: Tensor) -> Tensor:
        """Move positions along normals by the masked displacement (B, 1, H, W) and the fixed one: (B, 3, H, W)."""
        return displaced(position, normal, displacement, self.mask, self.fixed)

    def normals(self, position: Tensor, normal: Tensor) -> Tensor:
        """Return detailed normals of displaced positions, the coarse ones outside the mask: (B, 3, H, W)."""
        return blended_normals(position, normal, self.mask, self.grid, official=self.official)

    def exported(self, displacement: Tensor) -> Tensor:
        """Return the displacement to store or apply to a mesh; the released code forgets the mask here."""
        shown = displacement if self.official else displacement * self.mask
        return shown if self.fixed is None else shown + self.fixed

    def _layout(self, batch: int) -> Fragments:
        return Fragments(
            self.face_index.expand(batch, -1, -1),
            self.bary.expand(batch, -1, -1, -1),
            self.bary.new_zeros(1).expand(batch, *self.face_index.shape[1:]),
        )


def displaced(
    position: Tensor, normal: Tensor, displacement: Tensor, mask: Tensor, fixed: Tensor | None = None
) -> Tensor:
    """Return ``P + M Z N + F N``; all arguments are maps.

    Args:
        position, normal: (B, 3, H, W).
        displacement: (B, 1, H, W) metres.
        mask: (1 or B, 1, H, W); the fixed displacement is not masked.
        fixed: broadcastable to (B, 1, H, W), or None.
    """
    moved = position + displacement * mask * normal
    return moved if fixed is None else moved + fixed * normal


def dense_faces(height: int, width: int, margins: tuple[int, int] = (0, 0)) -> Tensor:
    """Triangulate texels: (F, 3) ids ``row * width + column``, counter-clockwise for a viewer of the upright texture.

    Two triangles a cell, columns outermost, in the released code's order.

    Args:
        height, width: of the map.
        margins: columns and rows left out at the beginning and, less one, before the last cells; (0, 0) for all.
    """
    left, top = margins
    right, bottom = (width - left - 1, height - top - 1) if left or top else (width - 1, height - 1)
    column, row = torch.meshgrid(torch.arange(left, right), torch.arange(top, bottom), indexing="ij")
    v = (row * width + column).flatten()
    pairs = torch.stack([v, v + width, v + 1, v + 1, v + width, v + width + 1], 1)
    return pairs.view(-1, 3)


def blended_normals(
    position: Tensor, normal: Tensor, mask: Tensor, faces: Tensor, *, official: bool = False
) -> Tensor:
    """Return normals of a texel mesh inside the mask and the given ones outside, (B, 3, H, W).

    Args:
        position, normal: maps (B, 3, H, W).
        mask: (1 or B, 1, H, W) in [0, 1].
        faces: of :func:`dense_faces`.
        official: leave the blend as it is; otherwise texels without a triangle keep their normal and all are unit.
    """
    size = position.shape[-2:]
    eps = _OFFICIAL_EPS if official else 1e-12
    dense = vertex_normals(position.flatten(2).mT, faces, eps=eps).mT.unflatten(2, size)
    if not official:
        found = dense.square().sum(1, keepdim=True) > 0.5
        mask = mask * found
    blend = dense * mask + normal * (1 - mask)
    return blend if official else F.normalize(blend, dim=1)


@torch.no_grad()
def detailed_mesh(
    head: HeadModel,
    vertices: Tensor,
    displacement: Tensor,
    *,
    levels: int = 2,
    texture: NDArray[np.uint8] | None = None,
) -> Mesh:
    """Subdivide a posed head and displace it: the mesh that other programs show the wrinkles on.

    Args:
        head: with texture coordinates.
        vertices: (V, 3) metres.
        displacement: (1, H, W) metres, masked (:meth:`UvSurface.exported`).
        levels: times every triangle is cut into four; two bring the open head's face to about a millimetre.
        texture: (h, w, 3) to put on it.

    Returns:
        The whole head, with texture coordinates; watertight wherever the coarse head is, because vertices on a seam
        take the mean of their displacements.
    """
    topology = head.topology
    faces, uv_faces = topology.faces.cpu().numpy(), topology.uv_faces.cpu().numpy()
    points = vertices.detach().cpu().double().numpy()
    normals = vertex_normals(vertices.detach().cpu().double(), topology.faces.cpu()).numpy()
    uv = topology.uv.cpu().double().numpy()
    for _ in range(levels):
        finer, finer_uv = subdivide(faces, len(points)), subdivide(uv_faces, len(uv))
        faces, points, normals = finer.faces, finer.carry(points), finer.carry(normals)
        uv_faces, uv = finer_uv.faces, finer_uv.carry(uv)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    read = sample_texture(displacement[None].cpu().double(), torch.from_numpy(uv)[None, None])[
        0, 0, 0
    ].numpy()
    total, count = np.zeros(len(points)), np.zeros(len(points))
    np.add.at(total, faces.ravel(), read[uv_faces.ravel()])
    np.add.at(count, faces.ravel(), 1)
    points = points + (total / np.maximum(count, 1))[:, None] * normals
    new = vertex_normals(torch.from_numpy(points), torch.from_numpy(faces)).numpy()
    return Mesh(points, faces, uv, uv_faces, normals=new, texture=texture, name=head.head_id)
