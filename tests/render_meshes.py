"""Meshes on the screen for the renderer's tests, and a rasteriser too slow to be wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facezoo.render.bench import ellipsoid


def soup(batch: int = 3, vertices: int = 40, faces: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Build random triangles that overlap, intersect and stick out of a 26 x 30 image."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(batch, vertices, 3, generator=generator)
    corners = corners * torch.tensor([42.0, 38.0, 1.0]) + torch.tensor([-6.0, -6.0, 0.5])
    index = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(faces)])
    return corners, index


def ball(batch: int = 1, size: int = 64, around: int = 24, bands: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    """Build a unit sphere before a camera.

    Returns:
        Screen vertices (B, V, 3), each image's turned a little further about the line of sight; faces; and the
        vertices in camera axes (B, V, 3) with the sphere's centre at (0, 0, 4).
    """
    points, faces = ellipsoid(around, bands)
    points = points / torch.tensor([0.075, 0.12, 0.1])
    points = points * torch.tensor([1.0, -1.0, -1.0])  # head axes to camera axes
    tilt = torch.arange(batch) * 0.2 + 0.3
    zero, one = torch.zeros_like(tilt), torch.ones_like(tilt)
    turn = torch.stack((tilt.cos(), -tilt.sin(), zero, tilt.sin(), tilt.cos(), zero, zero, zero, one), -1)
    camera = points @ turn.view(-1, 3, 3).transpose(1, 2) + torch.tensor([0.0, 0.0, 4.0])
    return project(camera, size), faces, camera


def project(camera: Tensor, size: int) -> Tensor:
    """Project camera axes to pixels of a square image: (B, V, 3)."""
    z = camera[..., 2:]
    return torch.cat((camera[..., :2] / z * 1.6 * size + size / 2, z), -1)


def split_square(
    points: int = 60, seed: int = 0, low: float = 2.0, high: float = 30.0
) -> tuple[Tensor, Tensor]:
    """Split a square at random points into triangles, all counter-clockwise to the eye: (V, 2), (F, 3)."""
    from scipy.spatial import Delaunay

    generator = torch.Generator().manual_seed(seed)
    inner = torch.rand(points, 2, generator=generator) * (high - low) + low
    corners = torch.tensor([[low, low], [low, high], [high, low], [high, high]])
    on_grid = torch.tensor(
        [[5.5, 5.5], [8.5, 5.5], [8.5, 9.5], [20.5, 20.5], [20.5, 11.5]]
    )  # on pixel centres
    vertices = torch.cat((corners, on_grid, inner))
    return vertices, torch.from_numpy(Delaunay(vertices.double().numpy()).simplices).long()


def reference(
    vertices: Tensor, faces: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rasterise one image (V, 3) in float64, one pixel and one triangle at a time.

    Returns:
        face (H, W), barycentrics (H, W, 3), depth (H, W) and a mask (H, W) of pixels where the answer is not a matter
        of rounding: no edge within 1e-4 of the centre, no two depths within 1e-6.
    """
    height, width = size
    face = torch.full(size, -1)
    bary = torch.zeros(*size, 3, dtype=torch.float64)
    depth = torch.zeros(size, dtype=torch.float64)
    clear = torch.ones(size, dtype=torch.bool)
    triangles = [[tuple(corner) for corner in vertices.double()[index].tolist()] for index in faces]
    for row in range(height):
        for column in range(width):
            x, y, best = column + 0.5, row + 0.5, math.inf
            for number, ((ax, ay, az), (bx, by, bz), (cx, cy, cz)) in enumerate(triangles):
                area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
                l0 = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
                l1 = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
                l2 = 1 - l0 - l1
                least = min(l0, l1, l2)
                if abs(least) < 1e-4:
                    clear[row, column] = False
                if least < 0:
                    continue
                u = (l0 / az, l1 / bz, l2 / cz)
                z = 1 / sum(u)
                if abs(z - best) < 1e-6:
                    clear[row, column] = False
                if z < best:
                    best = z
                    face[row, column], depth[row, column] = number, z
                    bary[row, column] = torch.tensor([part * z for part in u])
    return face, bary, depth, clear
