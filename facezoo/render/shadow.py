"""Shadows of one distant light: a shadow map by the same rasteriser, looked up softly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facezoo.errors import InputError
from facezoo.render.rasterizer import rasterize_depth

# Centre, inner square and outer diamond of the unit disc.
_TAPS = ((0, 0), (-0.6, -0.6), (0.6, -0.6), (-0.6, 0.6), (0.6, 0.6), (1, 0), (-1, 0), (0, 1), (0, -1))
_STEEPEST = 5.0  # slope towards the light up to which a tangent plane is trusted
_MARGIN = 2  # empty texels around the casters, so that a look-up beyond them finds light


@torch.no_grad()
def shadow(
    vertices: Tensor,
    faces: Tensor,
    light: Tensor,
    points: Tensor,
    mask: Tensor | None = None,
    *,
    normals: Tensor | None = None,
    softness: float | Tensor = 0.004,
    bias: float = 0.003,
    resolution: int = 192,
) -> Tensor:
    """Compute how much of a distant light reaches each point past the mesh.

    Percentage-closer filtering (Reeves et al. 1987): nine taps on a disc of radius `softness`, each a comparison of
    depths, averaged. No gradient. A surface that turns away from the light is not told from one in shadow: multiply
    by the cosine.

    Args:
        vertices: (B, V, 3) of the casters, metres, in any frame.
        faces: (F, 3).
        light: (B, 3) towards the light, in the same frame; any length.
        points: (B, ..., 3) that receive, in the same frame, e.g. the interpolated position of every pixel.
        mask: (B, ...) bool, the points that matter (`face_index >= 0`); the others get 1 and cost nothing.
        normals: (B, ..., 3) of the points, same frame, any length. With them each tap is compared with the point's
            tangent plane, so that a slope does not shade itself; without, keep `bias` above slope x softness.
        softness: radius of the penumbra in metres, a number or (B,).
        bias: metres a point must lie behind a caster to be fully in its shadow.
        resolution: side of the shadow map in texels, spread over the mesh's extent across the light.

    Returns:
        (B, ...) in [0, 1]; 1 = fully lit.

    Raises:
        InputError: for shapes that do not fit.
    """
    batch = vertices.shape[0]
    if light.shape != (batch, 3) or points.shape[0] != batch or points.shape[-1] != 3:
        raise InputError(
            f"shadow: with vertices {tuple(vertices.shape)} expected light ({batch}, 3) and points ({batch}, ..., 3),"
            f" got {tuple(light.shape)} and {tuple(points.shape)}."
        )
    axes = _light_axes(light)
    casters = vertices @ axes.transpose(1, 2)
    low, high = casters.amin(1, keepdim=True), casters.amax(1, keepdim=True)
    extent = (high - low).clamp(min=1e-9)
    extent = torch.maximum(extent, 1e-3 * extent.amax(-1, keepdim=True))  # flat casters need a depth as well
    scale = (resolution - 2 * _MARGIN) / extent[..., :2].amax(-1, keepdim=True)  # (B, 1, 1) texels a metre

    # The rasteriser interpolates 1/z linearly over the screen: a 1/z that is linear in depth makes it orthographic.
    unit = torch.cat((scale, scale, -1 / extent[..., 2:]), -1)
    origin = torch.cat((_MARGIN - low[..., :2] * scale, 2 + low[..., 2:] / extent[..., 2:]), -1)
    drawn = casters * unit + origin
    drawn[..., 2].reciprocal_()
    nearest = rasterize_depth(drawn, faces, (resolution, resolution)).view(-1)
    nearest = torch.where(nearest > 0, nearest, -torch.inf)

    received = torch.baddbmm(
        origin, points.reshape(batch, -1, 3), (axes * unit.transpose(1, 2)).transpose(1, 2)
    )
    each = received.shape[1]
    received = received.view(-1, 3)
    lit = received.new_ones(received.shape[0])
    chosen = (
        torch.arange(lit.shape[0], device=lit.device) if mask is None else mask.reshape(-1).nonzero().view(-1)
    )
    image = chosen.div(each, rounding_mode="floor")
    x, y, nearness = (received[:, axis].index_select(0, chosen) for axis in range(3))
    radius = (torch.as_tensor(softness, dtype=x.dtype, device=x.device) * scale.view(-1)).expand(batch)[image]
    ramp = (extent[:, 0, 2] / bias)[image]
    first = image * (resolution * resolution)
    plane = None if normals is None else _tangent(normals, axes, unit, chosen, image)
    total = torch.zeros_like(x)
    for right, down in _TAPS:
        column = (x + radius * right).clamp_(0, resolution - 1).floor_()
        line = (y + radius * down).clamp_(0, resolution - 1).floor_()
        at = line.long().mul_(resolution).add_(column.long()).add_(first)
        expected = nearness
        if plane is not None:
            expected = nearness + plane[0] * (column - x + 0.5) + plane[1] * (line - y + 0.5)
        total += (expected - nearest.index_select(0, at)).mul_(ramp).add_(1).clamp_(0, 1)
    return lit.scatter_(0, chosen, total / len(_TAPS)).view(points.shape[:-1])


def _tangent(
    normals: Tensor, axes: Tensor, unit: Tensor, chosen: Tensor, image: Tensor
) -> tuple[Tensor, Tensor]:
    """How 1/z in the map changes along a texel right and down on the chosen points' tangent planes, (N,) each."""
    x, y, away = (
        torch.bmm(normals.reshape(axes.shape[0], -1, 3), axes.transpose(1, 2)).view(-1, 3)[chosen].unbind(-1)
    )
    away = away.clamp(max=-1e-6)
    texel = (unit[:, 0, 2] / unit[:, 0, 0])[image]
    return (-x / away).clamp(-_STEEPEST, _STEEPEST) * texel, (-y / away).clamp(-_STEEPEST, _STEEPEST) * texel


def _light_axes(light: Tensor) -> Tensor:
    """Rotation (B, 3, 3) into the light's frame: rows across, across, and away from the light."""
    away = -functional.normalize(light, dim=-1)
    # Any vector not parallel to the light: the axis along which it has the smallest part.
    helper = functional.one_hot(away.abs().argmin(-1), 3).to(away.dtype)
    across = functional.normalize(torch.linalg.cross(away, helper, dim=-1), dim=-1)
    return torch.stack((across, torch.linalg.cross(away, across, dim=-1), away), 1)
