"""The mean skin surface: the coarse loft bent through every hand-placed point.

``Skin`` maps chart points (θ, s) to millimetres. The displacement from the loft is a thin-plate spline over the
chart, so it is smooth everywhere; the mouth is a slit in space but an ellipse in the chart, so that the two lips are
apart where the spline lives and together where the face is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline, RBFInterpolator
from scipy.spatial import cKDTree

from . import anatomy as an
from .base import Loft

CHART_MM = 100.0  # millimetres per radian of azimuth on the front of the face
MOUTH_HALF_WIDTH = an.LIP_CORNER[0]
MOUTH_OPENING = 5.5  # half height of the mouth's ellipse in the chart, mm


def curve(points: Sequence[Sequence[float]] | np.ndarray, n: int, closed_mirror: bool = False) -> np.ndarray:
    """Resample a polyline with a natural cubic spline at n points equally spaced along it."""
    p = np.asarray(points, float)
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    if closed_mirror:  # the curve crosses x = 0 at its first point: continue it on the other side
        mirrored = (p[1:] * [-1, 1, 1])[::-1]
        knots = np.concatenate([-knots[:0:-1], knots])
        spline = CubicSpline(knots, np.concatenate([mirrored, p]))
    else:
        spline = CubicSpline(knots, p)
    fine = np.linspace(0, knots[-1], 2000)
    q = spline(fine)
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(q, axis=0), axis=1))])
    return spline(np.interp(np.linspace(0, arc[-1], n), arc, fine))


def on_lid_sphere(points: np.ndarray, radius: float = an.LID_RADIUS) -> np.ndarray:
    """Lift points that would be inside the lid sphere onto it, along the view axis' radial direction."""
    d = points - an.EYE_CENTRE
    r = np.linalg.norm(d, axis=-1, keepdims=True)
    return np.where(r < radius, an.EYE_CENTRE + d / np.maximum(r, 1e-9) * radius, points)


def lid_margin(upper: bool, n: int) -> np.ndarray:
    """Outer edge of one lid margin of the subject's left eye, inner to outer corner, (n, 3)."""
    p = curve(an.LID_UPPER if upper else an.LID_LOWER, n)
    return on_lid_sphere(p)


def lip_curve(points: list[tuple[float, float, float]], n: int) -> np.ndarray:
    """A lip line of one half from the centre to the corner, (n, 3)."""
    return curve([*points, an.LIP_CORNER], n, closed_mirror=True)


def lip_line_y(x: np.ndarray) -> np.ndarray:
    """Height of the closed mouth's line at |x|, mm."""
    p = lip_curve(an.LIP_LINE, 200)
    return np.interp(np.abs(x), p[:, 0], p[:, 1])


def open_mouth(x: np.ndarray, y: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Height after opening the slit into the chart's ellipse; side is +1 above the line, -1 below."""
    gap = MOUTH_OPENING * np.sqrt(np.clip(1 - (x / MOUTH_HALF_WIDTH) ** 2, 0, 1))
    fade = np.exp(-np.abs(y - lip_line_y(x)) / 14.0) * np.exp(
        -np.clip(np.abs(x) - MOUTH_HALF_WIDTH, 0, None) / 6
    )
    return y + side * gap * fade


class Skin:
    """The mean face and head as a map from the chart to space."""

    def __init__(self) -> None:
        self.loft = Loft()
        theta = np.linspace(0, np.pi / 2 + 0.35, 280)
        s = np.linspace(2, self.loft.length, 450)
        grid = np.stack(np.meshgrid(theta, s, indexing="ij"), -1).reshape(-1, 2)
        self._grid = grid
        self._grid_points = self.loft(grid[:, 0], grid[:, 1])
        chart, target = self._controls()
        displacement = target - self.loft(chart[:, 0], chart[:, 1])
        flat = self.flat(chart)
        off_axis = flat[:, 0] > 1e-6
        flat = np.concatenate([flat, flat[off_axis] * [-1, 1]])
        displacement = np.concatenate([displacement, displacement[off_axis] * [-1, 1, 1]])
        flat, first = np.unique(flat.round(3), axis=0, return_index=True)
        self._spline = RBFInterpolator(flat, displacement[first], kernel="thin_plate_spline", smoothing=1.5)

    def flat(self, chart: np.ndarray) -> np.ndarray:
        """Chart coordinates in which the front of the face is nearly isometric, mm."""
        return np.asarray(chart) * [CHART_MM, 1.0]

    def locate(self, points: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
        """Chart coordinates (N, 2) of points (N, 3) near the surface; side says which lip (0 = neither)."""
        p = np.array(points, float)
        if side is not None:
            p[:, 1] = open_mouth(p[:, 0], p[:, 1], np.asarray(side))
        sign = np.where(p[:, 0] < 0, -1.0, 1.0)
        p[:, 0] = np.abs(p[:, 0])
        # Fronto-parallel points are matched along the view axis, points on the side of the head in space.
        weight = np.stack([np.ones(len(p)), np.ones(len(p)), np.clip((-8.0 - p[:, 2]) / 30.0, 0.02, 1.0)], -1)
        chart = np.empty((len(p), 2))
        for level in np.unique(weight[:, 2].round(1)):
            w = np.array([1.0, 1.0, max(level, 0.05)])
            rows = weight[:, 2].round(1) == level
            chart[rows] = self._grid[cKDTree(self._grid_points * w).query(p[rows] * w)[1]]
        for _ in range(8):  # Gauss-Newton from the nearest grid point to full precision
            r = (p - self.loft(chart[:, 0], chart[:, 1])) * weight
            step = np.array([1e-4, 1e-2])
            j = (
                np.stack(
                    [
                        (
                            self.loft(chart[:, 0] + step[0], chart[:, 1])
                            - self.loft(chart[:, 0] - step[0], chart[:, 1])
                        ),
                        (
                            self.loft(chart[:, 0], chart[:, 1] + step[1])
                            - self.loft(chart[:, 0], chart[:, 1] - step[1])
                        ),
                    ],
                    -1,
                )
                / (2 * step)
                * weight[..., None]
            )
            jtj = np.einsum("nki,nkj->nij", j, j) + np.diag([1e-2, 1e-6])
            delta = np.linalg.solve(jtj, np.einsum("nki,nk->ni", j, r)[..., None])[..., 0]
            chart += np.clip(delta, [-0.02, -2.0], [0.02, 2.0])
        chart[p[:, 0] < 1e-6, 0] = 0.0
        chart[:, 0] *= sign
        return chart

    def _controls(self) -> tuple[np.ndarray, np.ndarray]:
        charts, targets = [], []

        def add(points: np.ndarray, side: float | np.ndarray = 0.0) -> None:
            points = np.asarray(points, float)
            charts.append(self.locate(points, np.broadcast_to(side, len(points))))
            targets.append(points)

        free = an.half_points()
        near = (np.abs(free[:, 0]) < 26) & (free[:, 1] < -45) & (free[:, 1] > -92)
        add(free, np.where(near, np.where(free[:, 1] > -66.5, 1.0, -1.0), 0.0))
        add(np.array(an.BROW))
        for upper in (True, False):
            add(lid_margin(upper, 11))
        add(curve(an.LID_CREASE, 8))
        add(curve(an.LOWER_LID_FOLD, 8))
        add(np.array(an.JAW[:3]))
        for side, lines in ((1.0, (an.LIP_UPPER_OUTER, an.LIP_UPPER_BULGE, an.LIP_LINE)),
                            (-1.0, (an.LIP_LOWER_OUTER, an.LIP_LOWER_BULGE, an.LIP_LINE))):  # fmt: skip
            for line in lines:
                add(lip_curve(line, 10)[:-1], side)
        add(np.array([an.LIP_CORNER]))
        # Cranium, neck and back follow the loft: anchors with no displacement.
        places = [(t, s) for s in np.linspace(6, 95, 6) for t in np.linspace(0, np.pi, 7)]
        places += [(t, s) for s in np.linspace(115, 250, 8) for t in (1.75, 2.2, 2.7, 3.14)]
        places += [(t, s) for s in np.linspace(272, self.loft.length, 6) for t in np.linspace(0, np.pi, 9)]
        anchors = np.array(places)
        charts.append(anchors)
        targets.append(self.loft(anchors[:, 0], anchors[:, 1]))
        return np.concatenate(charts), np.concatenate(targets)

    def __call__(self, chart: np.ndarray) -> np.ndarray:
        """Points (N, 3) mm at chart coordinates (N, 2), exactly mirrored in θ."""
        chart = np.asarray(chart, float)
        flat = self.flat(chart)
        d = (self._spline(flat) + self._spline(flat * [-1, 1]) * [-1, 1, 1]) / 2
        back = np.clip((np.abs(chart[:, :1]) - 1.9) / 0.8, 0, 1)
        return self.loft(chart[:, 0], chart[:, 1]) + d * (1 - back * back * (3 - 2 * back))
