"""Creases by age."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from facezoo.synth.skin_paint.arrays import Array
from facezoo.synth.skin_paint.face import Face


def paint_wrinkles(face: Face) -> None:
    """Stain the person's own creases; without them draw lines by age, from the brow to the neck."""
    if face.creases is not None:
        _stain(face, face.creases.ravel() * (0.6 + 0.8 * face.noise("rough")))
        return
    rng, t, lay, size = face.rng, face.t, face.layout, face.g.size
    old = float(np.clip((t.age - 18) / 55, 0.03, 1.15) * np.exp(rng.normal(0, 0.3)))
    big = 2 * size
    image = Image.new("L", (big, big))
    draw = ImageDraw.Draw(image)
    left, right = np.mean(lay.eye_left, 0), np.mean(lay.eye_right, 0)
    unit = float(np.linalg.norm(left - right))  # the distance of the eyes, about 63 mm

    def line(points: NDArray, strength: float, width: float = 1.0) -> None:
        pixels = (np.asarray(points) + rng.normal(0, 0.006 * unit, np.shape(points))) * [big, -big] + [0, big]
        value = int(np.clip(255 * strength * np.exp(rng.normal(0, 0.4)), 0, 255))
        if value > 8:
            draw.line(
                [(float(x), float(y)) for x, y in pixels],
                fill=value,
                width=max(1, round(width * size / 256)),
                joint="curve",
            )

    brow = (np.asarray(lay.brow_left)[0] + np.asarray(lay.brow_right)[0]) / 2
    wave = np.linspace(-1, 1, 11)
    for i in range(int(rng.integers(0, 2 + int(4 * old)))):
        bow = rng.normal(0.03, 0.03) * (1 - wave**2) + 0.012 * np.sin(
            wave * rng.uniform(3, 9) + rng.uniform(0, 6)
        )
        line(
            brow + np.stack([wave * unit * rng.uniform(0.45, 0.75), unit * (0.22 + 0.14 * i + bow)], -1),
            0.55 * old,
            2,
        )
    for side, eye in ((1, np.asarray(lay.eye_left)), (-1, np.asarray(lay.eye_right))):
        outer = eye[(eye[:, 0] * side).argmax()]
        centre = eye.mean(0)
        if rng.random() < 0.6:
            x = side * unit * rng.uniform(0.04, 0.12)
            line(brow + np.array([[x, -0.05 * unit], [x * 0.9, 0.12 * unit]]), 0.4 * old, 2)
        for _ in range(int(rng.integers(0, 2 + int(4 * old)))):
            angle, start = rng.normal(0, 0.45), 0.1 * unit
            ray = np.array([side * np.cos(angle), np.sin(angle)])
            line(
                outer + np.outer(start + np.linspace(0, unit * rng.uniform(0.12, 0.33), 4), ray), 0.5 * old, 1
            )
        for depth in (0.17, 0.27):
            sag = depth * unit * (1 - 0.5 * wave**2)
            line(
                centre + np.stack([side * wave * 0.24 * unit, -sag], -1),
                (0.08 + 0.4 * old) * (rng.random() < 0.6),
                2,
            )
        nostril = np.asarray(lay.nostrils)[0 if side > 0 else 1]
        lip = np.asarray(lay.lip_upper)
        corner = lip[(lip[:, 0] * side).argmax()]
        s = np.linspace(0, 1, 8)[:, None]
        start, end = (
            nostril + [side * 0.13 * unit, 0.06 * unit],
            corner + [side * rng.uniform(0.07, 0.16) * unit, -0.05 * unit],
        )
        fold = start + (end - start) * s + np.array([side * 0.05 * unit, 0.03 * unit]) * np.sin(np.pi * s)
        line(fold, 0.18 + 0.55 * old, 3)
        if rng.random() < 0.3 + old:
            foot = corner + [side * 0.06 * unit, -0.04 * unit]
            line(
                foot + np.outer(np.linspace(0, 1, 4), [side * 0.04 * unit, -unit * rng.uniform(0.15, 0.4)]),
                0.45 * old,
                2,
            )
    for _ in range(int(rng.integers(0, 4))):
        line(np.asarray(lay.neck_line) + [0, rng.normal(0, 0.12) * unit], 0.2 + 0.3 * old, 2)
    if rng.random() < 0.5:  # philtrum's shade
        top = np.asarray(lay.lip_upper)[np.asarray(lay.lip_upper)[:, 1].argmax()]
        line(np.stack([[brow[0], top[1] + 0.03 * unit], [brow[0], top[1] + 0.15 * unit]]), 0.15, 3)
    image = image.reduce(2).filter(ImageFilter.BoxBlur(size / 256 * rng.uniform(0.5, 1.1)))
    crease = np.asarray(image).ravel().astype(np.float32) * np.float32(rng.uniform(0.45, 0.95) / 255)
    _stain(face, crease * (0.6 + 0.8 * face.noise("rough")))


def _stain(face: Face, crease: Array) -> None:
    texels = np.flatnonzero(crease > 0.004)
    face.stain(texels, crease[texels] * 0.7, crease[texels] * 0.6)
