"""Adapter to pytorch3d's rasteriser: the one file of facezoo that imports it. Needs pytorch3d at run time."""

from __future__ import annotations

import torch
from pytorch3d.renderer.mesh import rasterize_meshes  # type: ignore[import-not-found]
from pytorch3d.structures import Meshes  # type: ignore[import-not-found]
from torch import Tensor

from facezoo.render.rasterizer import Fragments
from facezoo.render.scanline import NEAR


def rasterize_pytorch3d(
    vertices_screen: Tensor, faces: Tensor, size: tuple[int, int], cull_backfaces: bool = False
) -> Fragments:
    """Rasterise with pytorch3d; arguments and result as `facezoo.render.rasterize`.

    Edges follow pytorch3d's fill rule (both borders drawn), so pixels whose centre an edge crosses may differ.
    """
    height, width = size
    batch = vertices_screen.shape[0]
    valid = torch.isfinite(vertices_screen).all(-1) & (vertices_screen[..., 2] > NEAR)
    kept = [valid[b][faces].all(-1).nonzero().view(-1) for b in range(batch)]

    # NDC there: x left, y up, the shorter side of the image spans [-1, 1].
    extent = vertices_screen.new_tensor((width, height))
    safe = torch.where(valid.unsqueeze(-1), vertices_screen, torch.ones_like(vertices_screen))
    ndc = torch.cat(((extent - 2 * safe[..., :2]) / min(height, width), safe[..., 2:]), -1)
    meshes = Meshes(verts=list(ndc.unbind(0)), faces=[faces[index] for index in kept])
    packed, depth, bary, _ = rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        cull_backfaces=cull_backfaces,
    )
    packed, depth, bary = packed[..., 0], depth[..., 0], bary[..., 0, :]
    covered = packed >= 0
    original = torch.cat(kept) if batch else faces.new_zeros(0)
    face_index = torch.where(covered, original[packed.clamp(min=0)] if original.numel() else packed, -1)
    return Fragments(
        face_index, torch.where(covered.unsqueeze(-1), bary, 0.0), torch.where(covered, depth, 0.0)
    )
