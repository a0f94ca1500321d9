"""One texture in the making: colour and gloss, and the ways to blend, stain and read noise."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from facezoo.synth import noise
from facezoo.synth.skin_paint.arrays import Array, Indices
from facezoo.synth.skin_paint.geometry import Geometry
from facezoo.synth.skin_paint.layout import FaceLayout
from facezoo.synth.skin_paint.tone import BLOOD, MELANIN
from facezoo.synth.skin_paint.traits import SkinTraits


@cache
def doubled_atlas(kind: str) -> Array:
    """An atlas twice along each axis, flat: an offset look-up needs no modulo."""
    return np.tile(noise.atlas(kind), (2, 2)).ravel()


class Face:
    """One texture in the making: ``rgb`` (3, S²) and ``gloss`` (S²), flat and planar for speed."""

    def __init__(
        self, rng: np.random.Generator, layout: FaceLayout, geometry: Geometry, traits: SkinTraits,
        creases: Array | None = None,
    ) -> None:  # fmt: skip
        self.rng, self.layout, self.g, self.t, self.creases = rng, layout, geometry, traits, creases
        self.rgb = np.empty((3, geometry.size**2), np.float32)
        self.gloss = np.empty(geometry.size**2, np.float32)

    def noise(self, kind: str, texels: Indices | None = None) -> Array:
        """Noise by the head's own millimetres, at all or some texels."""
        at = self.g.noise_at if texels is None else self.g.noise_at[texels]
        row, column = self.rng.integers(0, noise.ATLAS, 2)
        return doubled_atlas(kind).take(at + (int(row) * 2 * noise.ATLAS + int(column)))

    def strands(self, x: Array, y: Array) -> Array:
        """Hair-like noise at atlas coordinates: x across the hairs (about eight to a hair), y along them."""
        row, column = self.rng.integers(0, noise.ATLAS, 2)
        rows = (y + np.float32(row)).astype(np.int64) % noise.ATLAS
        columns = (x + np.float32(column)).astype(np.int64) % noise.ATLAS
        return noise.atlas("strands").ravel().take(rows * noise.ATLAS + columns)

    def hairs(self, texels: Indices) -> Array:
        """Hair that hangs or curls, at texels of beard or scalp: strands of random width and slant, or curls."""
        if self.rng.random() < 0.3:
            return self.noise("rough", texels)
        around, down = self.g.metric[0][texels], self.g.metric[1][texels]
        fine = np.float32(np.exp(self.rng.uniform(np.log(2500), np.log(9000))))
        long, slant = self.rng.uniform(0.12, 0.5), self.rng.normal(0, 0.25)
        return self.strands((around + slant * down) * fine, down * fine * long)

    def blend(self, texels: Indices, alpha: Array, colour: NDArray, gloss: float | None = None) -> None:
        """Cover texels by a colour: (3,) or (3, N)."""
        tone = np.asarray(colour, np.float32).reshape(3, -1)
        for plane, c in zip(self.rgb, tone, strict=True):
            old = plane[texels]
            plane[texels] = old + (c - old) * alpha
        if gloss is not None:
            old = self.gloss[texels]
            self.gloss[texels] = old + (np.float32(gloss) - old) * alpha

    def stain(self, texels: Indices, melanin: Array | float, blood: Array | float) -> None:
        """Add dye at some texels."""
        for c in range(3):
            self.rgb[c][texels] *= np.exp(-(melanin * MELANIN[c] + blood * BLOOD[c]))
