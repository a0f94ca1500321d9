"""Marks here and there: moles, scars, a forehead dot."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from facezoo.synth.skin_paint.arrays import Array, Indices
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.tone import decode_srgb


def paint_marks(face: Face) -> None:
    """Paint moles, a scar, a forehead dot."""
    rng, g, size = face.rng, face.g, face.g.size
    scale = size / 256

    def disc(texel: int, radius: float, squash: float = 1.0) -> tuple[Indices, Array]:
        reach = int(np.ceil(radius * 1.6)) + 1
        row, column = divmod(int(texel), size)
        rows = np.clip(row + np.arange(-reach, reach + 1), 0, size - 1)
        columns = np.clip(column + np.arange(-reach, reach + 1), 0, size - 1)
        d = np.hypot((rows - row)[:, None] * squash, (columns - column)[None] / squash) + rng.uniform(
            -0.3, 0.3
        )
        return (rows[:, None] * size + columns[None]).ravel(), np.clip(
            (radius - d) / scale + 0.5, 0, 1
        ).ravel().astype(np.float32)

    for _ in range(rng.poisson(1.6)):
        texels, shape = disc(
            g.face[rng.integers(len(g.face))], scale * rng.uniform(0.5, 1.6), rng.uniform(0.8, 1.25)
        )
        texels, first = np.unique(texels, return_index=True)
        face.stain(texels, shape[first] * rng.uniform(0.3, 1.4), 0)
    if rng.random() < 0.05:
        image = Image.new("L", (size, size))
        row, column = divmod(int(g.face[rng.integers(len(g.face))]), size)
        walk = (
            np.array([column, row])
            + np.outer(np.linspace(0, rng.uniform(6, 26) * scale, 4), rng.normal(0, 1, 2))
            + rng.normal(0, 1, (4, 2))
        )
        ImageDraw.Draw(image).line(
            [(float(x), float(y)) for x, y in walk], fill=255, width=int(rng.integers(1, 4))
        )
        texels = np.flatnonzero(np.asarray(image))
        if len(texels):
            face.stain(texels, rng.uniform(-0.35, 0.2), rng.uniform(-0.2, 0.35))
    if rng.random() < 0.012:
        lay = face.layout
        spot = (np.asarray(lay.brow_left)[0] + np.asarray(lay.brow_right)[0]) / 2 + [0, 0.01]
        texel = int((1 - spot[1]) * size) * size + int(spot[0] * size)
        texels, shape = disc(texel, scale * rng.uniform(1.5, 3.5))
        texels, first = np.unique(texels, return_index=True)
        face.blend(texels, shape[first], decode_srgb(np.array([rng.uniform(0.4, 0.9), 0.03, 0.08])))
