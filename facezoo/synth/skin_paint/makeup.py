"""Colour put on the whole face: blush, carnival, sports and war paint. Lips and eyes have theirs in their own rooms."""

from __future__ import annotations

import numpy as np

from facezoo.synth.skin_paint.arrays import smooth_step
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.geometry import FIELDS
from facezoo.synth.skin_paint.tone import decode_srgb, skin_tone


def paint_blush(face: Face) -> None:
    """Paint blush on the cheeks."""
    rng, t = face.rng, face.t
    if t.makeup < 0.25 or rng.random() < 0.4:
        return
    cheek = face.g.fields[FIELDS.index("cheek")]
    texels = np.flatnonzero(cheek > 0.03)
    tone = skin_tone(t.melanin, 1.0) * np.array([1.05, rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.95)])
    face.blend(texels, cheek[texels] * np.float32(rng.uniform(0.1, 0.6) * t.makeup), tone)


def paint_carnival(face: Face) -> None:
    """Paint carnival, sports or war paint: flat colours over parts of the face."""
    rng, g = face.rng, face.g
    if not face.t.paint:
        return
    size = g.size
    x = (np.arange(size, dtype=np.float32) + 0.5) / size - np.float32(np.asarray(face.layout.nose_tip)[0])
    u = np.broadcast_to(x[None], (size, size)).ravel()
    colours = decode_srgb(rng.random((3, 3)) ** 0.7)
    wear = rng.uniform(0.5, 0.95) * smooth_step(
        face.noise("fbm"), rng.uniform(-0.2, 0.3), rng.uniform(0.3, 0.5)
    )
    kind = int(rng.integers(5))
    everywhere = np.arange(size * size)
    cheek = g.fields[FIELDS.index("cheek")]
    if kind == 0:  # whole face, perhaps two colours
        tone = np.where(u[None] < 0, colours[0][:, None], colours[int(rng.random() < 0.5)][:, None])
        face.blend(everywhere, wear, tone, 0.2)
    elif kind == 1:  # a flag's three bands
        band = (u > -0.06).astype(int) + (u > 0.06)
        face.blend(everywhere, wear, colours[band].T, 0.2)
    elif kind == 2:  # stripes on the cheeks
        rows = np.repeat(np.arange(size, dtype=np.float32), size)
        stripes = (np.sin(rows * np.float32(256 / size * rng.uniform(0.7, 1.3))) > 0.2) & (cheek > 0.35)
        face.blend(everywhere, wear * stripes, colours[0], 0.2)
    elif kind == 3:  # an animal's stripes
        face.blend(everywhere, wear * smooth_step(face.noise("ridged"), 0.65, 0.75), colours[0], 0.2)
    else:  # dark eyes, as players and pandas
        for eye in g.eyes:
            face.blend(
                eye.texels,
                smooth_step(eye.inside, 0.018, 0.012) * (eye.inside > 0) * wear[eye.texels],
                colours[0] * 0.3,
                0.15,
            )
