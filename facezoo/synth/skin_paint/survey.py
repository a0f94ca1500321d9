"""Measure in metres from every texel of a layout to points, lines and outlines of its texture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from facezoo.synth.skin_paint.layout import FaceLayout


class Survey:
    """A layout's texels as points in space, and the ways to measure from them."""

    def __init__(self, layout: FaceLayout, size: int) -> None:
        step = layout.mask.shape[0] / size
        pick = np.minimum((np.arange(size) + 0.5) * step, layout.mask.shape[0] - 1).astype(int)
        self.size = size
        self.mask = np.asarray(layout.mask, bool)[np.ix_(pick, pick)]
        nearest = distance_transform_edt(~self.mask, return_distances=False, return_indices=True)
        self.position = np.asarray(layout.position, float)[np.ix_(pick, pick)][nearest[0], nearest[1]]
        self.flat = self.position.reshape(-1, 3)

    def read(self, uv: NDArray) -> NDArray:
        """Positions (N, 3) at texture points (N, 2)."""
        points = np.atleast_2d(np.asarray(uv, float))
        columns = np.clip((points[:, 0] * self.size).astype(int), 0, self.size - 1)
        rows = np.clip(((1 - points[:, 1]) * self.size).astype(int), 0, self.size - 1)
        return self.position[rows, columns]

    def line(self, uv: NDArray, closed: bool = False) -> NDArray:
        """Positions (N, 3) along a polyline, every half texel."""
        points = np.asarray(uv, float)
        if closed:
            points = np.concatenate([points, points[:1]])
        at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        grid = np.linspace(0, at[-1], max(8, int(at[-1] * self.size * 2)))
        return self.read(np.stack([np.interp(grid, at, points[:, i]) for i in (0, 1)], -1))

    def distance(self, points: NDArray) -> NDArray:
        """Metres (S²,) from every texel to the nearest of some positions."""
        return cKDTree(points).query(self.flat)[0]

    def covered(self, outline: NDArray) -> NDArray[np.bool_]:
        """Texels (S, S) whose centre lies inside a closed outline."""
        image = Image.new("L", (4 * self.size, 4 * self.size))
        points = (np.asarray(outline, float) * [1, -1] + [0, 1]) * 4 * self.size
        ImageDraw.Draw(image).polygon([tuple(p) for p in points.tolist()], fill=255)
        return np.asarray(image.reduce(4)) > 127

    def signed(self, outline: NDArray) -> NDArray:
        """Metres (S²,) to a closed outline, negative inside, at most 0.05."""
        d = np.minimum(self.distance(self.line(outline, closed=True)), 0.05)
        return np.where(self.covered(outline).ravel(), -d, d)

    def bump(self, uv: NDArray, radius: float) -> NDArray:
        """1 at any of some texture points, falling as a Gaussian of the distance in space."""
        return np.exp(-0.5 * (self.distance(self.read(uv)) / radius) ** 2)

    def blob(self, centre: NDArray, radii: tuple[float, float, float]) -> NDArray:
        """An axis-aligned Gaussian blob around a position."""
        return np.exp(-0.5 * (((self.flat - centre) / radii) ** 2).sum(1))
