"""The scalp's hair roots and the hairline."""

from __future__ import annotations

import numpy as np

from facezoo.synth.skin_paint.arrays import smooth_step
from facezoo.synth.skin_paint.face import Face


def paint_scalp(face: Face) -> None:
    """Paint hair roots or stubble under the hair, back to a possibly receding hairline."""
    rng, t, g = face.rng, face.t, face.g
    if t.scalp < 0.02:
        return
    wobble = (face.noise("fbm", g.scalp) - 0.5) * 0.012
    temples = np.exp(-(((g.front - 0.035) / 0.02) ** 2))
    line = g.scalp_inside + wobble + np.float32(t.receding) * (0.4 + temples)
    soft = rng.uniform(0.001, 0.006)
    hairs = face.hairs(g.scalp)
    alpha = smooth_step(line, soft, -soft) * np.float32(t.scalp) * (0.8 + 0.2 * hairs)
    face.blend(g.scalp, np.clip(alpha, 0, 1), np.array(t.hair)[:, None] * (0.6 + 0.7 * hairs[None]), 0.2)
