"""What the camera sees: vertices that face it with nothing in front of them."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.render.rasterizer import rasterize_depth
from facezoo.render.scanline import NEAR


@torch.no_grad()
def visibility(
    vertices_screen: Tensor,
    faces: Tensor,
    normals: Tensor | None = None,
    *,
    resolution: int = 256,
    tolerance: float = 0.01,
) -> Tensor:
    """Tell which vertices the camera sees.

    The mesh's own bounding box is rasterised, so the answer depends neither on the image's size nor on what of the
    mesh lies inside it.

    Args:
        vertices_screen: (B, V, 3) pixels and depth, as for `rasterize`.
        faces: (F, 3), counter-clockwise from outside.
        normals: (B, V, 3) in camera axes (z forward), which then decide what faces the camera: z < 0. Left out, a
            vertex faces it when its faces, weighted by their area on the screen, do: exact under perspective.
        resolution: side of the depth buffer in pixels.
        tolerance: how far a vertex may lie behind the surface seen, as a share of the mesh's extent in depth.

    Returns:
        (B, V) bool; False for invalid vertices.

    Raises:
        InputError: for shapes that do not fit.
    """
    vertices = vertices_screen.detach()
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise InputError(f"visibility: vertices_screen must be (B, V, 3), got {tuple(vertices.shape)}.")
    if normals is not None and normals.shape != vertices.shape:
        raise InputError(f"visibility: normals must be {tuple(vertices.shape)}, got {tuple(normals.shape)}.")
    valid = torch.isfinite(vertices).all(-1) & (vertices[..., 2] > NEAR)
    low = torch.where(valid.unsqueeze(-1), vertices, torch.inf).amin(1, keepdim=True)
    high = torch.where(valid.unsqueeze(-1), vertices, -torch.inf).amax(1, keepdim=True)
    extent = (high - low).clamp(min=1e-12).nan_to_num(1.0, 1.0, 1.0)
    scale = (resolution - 2) / extent[..., :2].amax(-1, keepdim=True)
    fitted = torch.cat(((vertices[..., :2] - low[..., :2]) * scale + 1, vertices[..., 2:]), -1)

    nearness = rasterize_depth(fitted, faces, (resolution, resolution))
    near_enough = vertices[..., 2] <= farthest_depth(nearness, fitted[..., :2]) + tolerance * extent[..., 2]
    if normals is None:
        facing = _summed_area(vertices, faces) < 0
    else:
        facing = normals[..., 2] < 0
    return valid & near_enough & facing


def front_facing(vertices_screen: Tensor, faces: Tensor) -> Tensor:
    """Tell which faces turn their outside to the camera: (B, V, 3), (F, 3) -> (B, F) bool."""
    return _screen_area(vertices_screen, faces) < 0


def farthest_depth(nearness: Tensor, points: Tensor) -> Tensor:
    """Farthest depth in the four pixels around each point; an empty pixel is infinitely far.

    All four and not only the nearest: on a slope a point lies behind the centre of a pixel it touches.

    Args:
        nearness: (B, H, W) of `rasterize_depth`: 1/z, 0 = empty.
        points: (B, ..., 2) pixels.

    Returns:
        (B, ...); points outside of the image read its border.
    """
    batch, height, width = nearness.shape
    flat = nearness.view(batch, -1)
    corner = (points.reshape(batch, -1, 2) - 0.5).nan_to_num(0.0).floor()
    x0, y0 = corner[..., 0].clamp(0, width - 1).long(), corner[..., 1].clamp(0, height - 1).long()
    x1, y1 = (corner[..., 0] + 1).clamp(0, width - 1).long(), (corner[..., 1] + 1).clamp(0, height - 1).long()
    y0, y1 = y0 * width, y1 * width
    upper = torch.minimum(flat.gather(1, y0 + x0), flat.gather(1, y0 + x1))
    lower = torch.minimum(flat.gather(1, y1 + x0), flat.gather(1, y1 + x1))
    return torch.minimum(upper, lower).reciprocal().view(points.shape[:-1])


def _screen_area(vertices: Tensor, faces: Tensor) -> Tensor:
    """Twice the signed area of the faces on the screen (B, F); negative = outside to the camera, as y points down."""
    (ax, ay), (bx, by), (cx, cy) = (
        vertices[..., :2].index_select(1, faces[:, k]).unbind(-1) for k in range(3)
    )
    return (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)


def _summed_area(vertices: Tensor, faces: Tensor) -> Tensor:
    """Signed screen area of all faces around each vertex (B, V): the area-weighted vertex normal's sign."""
    area = _screen_area(vertices, faces).nan_to_num(0.0, 0.0, 0.0)
    total = vertices.new_zeros(vertices.shape[:2])
    for corner in range(3):
        total.index_add_(1, faces[:, corner], area)
    return total
