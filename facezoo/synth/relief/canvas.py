"""What wrinkles are carved into: the head's texture measured in metres, and the one way to carve a valley."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from facezoo.render.interpolation import interpolate
from facezoo.render.texture import uv_fragments
from facezoo.synth import noise
from facezoo.synth.layout import Stage, stage
from facezoo.synth.skin_paint.arrays import Array, as_float32, smooth_step
from facezoo.synth.skin_paint.face import doubled_atlas
from facezoo.synth.skin_paint.geometry import measure_layout
from facezoo.synth.skin_paint.survey import Survey

SIDE = 256
"""Texels along a side of the map that is shaded; the stored truth is half of it."""


class Canvas:
    """The head's texture as places in space; maps are (SIDE, SIDE), row 0 at v = 1, column 0 at u = 0.

    Attributes:
        position: (SIDE, SIDE, 3) metres at rest, continued beyond the layout.
        mask: (SIDE, SIDE) 0..1: 1 on the skin of face and neck, fading out towards eyes, lips, nostrils, ears, scalp.
    """

    def __init__(self, place: Stage) -> None:
        survey = Survey(place.layout, SIDE)
        self.layout = place.layout
        self.position = as_float32(survey.position)
        self._noise_at = measure_layout(place.layout, SIDE).noise_at
        self.mask = _skin_mask(place, survey)

    def noise(self, rng: np.random.Generator, kind: str) -> Array:
        """Noise (SIDE, SIDE) in [0, 1] by the head's own millimetres, half of one a step."""
        row, column = rng.integers(0, noise.ATLAS, 2)
        at = self._noise_at + (int(row) * 2 * noise.ATLAS + int(column))
        return doubled_atlas(kind).take(at).reshape(SIDE, SIDE)

    def at(self, uv: NDArray) -> Array:
        """Places (N, 3) in metres of texture points (N, 2), bilinear."""
        x = np.clip(uv[:, 0] * SIDE - 0.5, 0, SIDE - 1.001)
        y = np.clip((1 - uv[:, 1]) * SIDE - 0.5, 0, SIDE - 1.001)
        column, row = x.astype(int), y.astype(int)
        fx, fy = as_float32(x - column)[:, None], as_float32(y - row)[:, None]
        p = self.position
        upper = p[row, column] * (1 - fx) + p[row, column + 1] * fx
        return upper * (1 - fy) + (p[row + 1, column] * (1 - fx) + p[row + 1, column + 1] * fx) * fy

    def carve(
        self, out: Array, points: NDArray, depth: float, width: float, *, bulge: tuple[float, float] = (0.16, 0.16),
        ends: tuple[float, float] = (0.3, 0.3), along: Callable[[Array], Array] | None = None,
    ) -> None:  # fmt: skip
        """Add a valley with soft banks to a map.

        Across the line the profile is ``-exp(-s²/2)`` of the distance ``s`` in widths, and beside it skin that the valley
        pushed up; it comes in and runs out along the line.

        Args:
            out: (SIDE, SIDE) metres, changed in place.
            points: (N, 2) texture points that a smooth curve goes through.
            depth: metres; negative raises a ridge.
            width: standard deviation of the profile, metres; the valley is about three of them wide.
            bulge: height of the banks left and right of the line's direction, in depths.
            ends: share of the line over which it comes in and runs out.
            along: factor on the depth at 0..1 of the line.
        """
        dense = _curve(points)
        place = self.at(dense)
        reach = 6.0 * width
        top, bottom, left, right = _window(dense, reach)
        window = self.position[top:bottom, left:right]
        if not window.size:
            return
        middle = place.mean(0)
        texels, line = window.reshape(-1, 3) - middle, place - middle
        # |texel|² is the same for all places of the line
        nearest = ((line * line).sum(1)[None] - 2 * texels @ line.T).argmin(1)
        offset = texels - line[nearest]
        squared = (offset * offset).sum(1)
        near = np.flatnonzero(squared < reach * reach)
        nearest, offset = nearest[near], offset[near]
        # The line goes on between its places.
        step = np.gradient(line, axis=0)
        length = (step * step).sum(1)[nearest]
        beyond = np.clip((offset * step[nearest]).sum(1) / length, -0.5, 0.5)
        s = np.sqrt(np.maximum(squared[near] - beyond**2 * length, 0)) / np.float32(width)
        t = as_float32(np.clip((nearest + beyond) / (len(dense) - 1), 0, 1))
        rows, columns = np.divmod(near, window.shape[1])
        uv = np.stack([(left + columns + 0.5) / SIDE, 1 - (top + rows + 0.5) / SIDE], 1)
        direction = np.gradient(dense, axis=0)[nearest]
        away = uv - dense[nearest]
        side = direction[:, 0] * away[:, 1] - direction[:, 1] * away[:, 0] > 0
        strength = smooth_step(t, 0.0, ends[0]) * smooth_step(1 - t, 0.0, ends[1])
        if along is not None:
            strength = strength * along(t)
        bank = np.where(side, np.float32(bulge[0]), np.float32(bulge[1]))
        profile = -np.exp(-0.5 * s * s) + bank * np.exp(-0.5 * ((s - 2.4) / 1.15) ** 2)
        out[top + rows, left + columns] += np.float32(depth) * strength * profile

    def dome(self, out: Array, uv: NDArray, height: float, radius: float) -> None:
        """Add a bump (or, with a negative height, a dent) of a Gaussian profile to a map (SIDE, SIDE)."""
        point = np.asarray(uv, float)[None]
        top, bottom, left, right = _window(point, 3.5 * radius)
        squared = ((self.position[top:bottom, left:right] - self.at(point)[0]) ** 2).sum(-1)
        out[top:bottom, left:right] += np.float32(height) * np.exp(-0.5 * squared / np.float32(radius**2))


def _window(uv: NDArray, reach: float) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right) that hold everything within ``reach`` metres of texture points."""
    # No texel is smaller than half a millimetre where skin is.
    margin = int(np.ceil(reach / 0.0006)) + 1
    low, high = uv.min(0), uv.max(0)
    edges = (
        (1 - high[1]) * SIDE - margin,
        (1 - low[1]) * SIDE + margin,
        low[0] * SIDE - margin,
        high[0] * SIDE + margin,
    )
    top, bottom, left, right = (int(np.clip(edge, 0, SIDE)) for edge in edges)
    return top, bottom, left, right


def _curve(points: NDArray) -> NDArray[np.float64]:
    """Texture points (M, 2) of a smooth curve, about a texel apart."""
    points = np.asarray(points, float)
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(8, int(at[-1] * SIDE))
    return CubicSpline(at, points)(np.linspace(0, at[-1], count))


def _skin_mask(place: Stage, survey: Survey) -> Array:
    """Soft mask (SIDE, SIDE) of what carries relief."""
    layout = place.layout

    def outside(outline: NDArray, near: float, far: float) -> Array:
        return smooth_step(as_float32(survey.signed(outline)), near, far)

    mask = np.ones(SIDE * SIDE, np.float32)
    for eye in (layout.eye_left, layout.eye_right):
        mask *= outside(eye, 0.001, 0.0035)
    for lip in (layout.lip_upper, layout.lip_lower):
        mask *= outside(lip, 0.0, 0.0025)
    mask *= outside(layout.scalp, 0.0, 0.01)
    # Mouth, eye sockets, nostrils and ears are parts of their own.
    topology = place.head.topology
    fragments = uv_fragments(topology.uv, topology.uv_faces, (SIDE, SIDE))
    skin = torch.from_numpy(place.is_part("skin")).float()[:, None]
    part = interpolate(fragments, topology.faces, skin)[0, ..., 0].numpy()
    for spots, near, far in ((layout.nostrils, 0.003, 0.006), (layout.ears, 0.02, 0.03)):
        mask *= smooth_step(as_float32(survey.distance(survey.read(np.asarray(spots)))), near, far)
    return as_float32(mask.reshape(SIDE, SIDE) * part * survey.mask)


@lru_cache(maxsize=1)
def canvas() -> Canvas:
    """The open head's canvas; cached per process."""
    return Canvas(stage())
