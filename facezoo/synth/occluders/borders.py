"""What is done to the picture itself: captions and borders."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from facezoo.synth.occluders.canvas import BYTE, Canvas, Layer


def draw_caption(canvas: Canvas) -> Layer:
    """Letters over the picture: a watermark, a subtitle, a channel's logo."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    text = "".join(chr(int(c)) for c in rng.integers(65, 123, int(rng.integers(4, 22))) if c < 91 or c > 96)
    mask = Image.new("L", (w, h))
    pixels = max(6, int(h * rng.uniform(0.05, 0.14)))
    place = (
        float(rng.uniform(-0.1, 0.4) * w),
        float(rng.choice([rng.uniform(0, 0.1), rng.uniform(0.75, 0.95), rng.random()]) * h),
    )
    # Pillow's built-in face at a size; the same for every installation.
    ImageDraw.Draw(mask).text(place, text, fill=int(rng.uniform(90, 255)), font_size=pixels)
    if rng.random() < 0.25:
        mask = mask.rotate(float(rng.uniform(-45, 45)), Image.Resampling.BILINEAR)
    tone = np.array(canvas.colour(0.7, 1) if rng.random() < 0.7 else canvas.colour(), np.float32) / 255
    return np.asarray(mask) * BYTE, np.broadcast_to(tone, (h, w, 3)).copy()


def draw_edge(canvas: Canvas) -> Layer:
    """The picture ends: a straight, flat-coloured border on one or two sides, as in crops beyond a photograph."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    alpha = np.zeros((h, w), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        depth = rng.uniform(0.02, 0.25)
        side = rng.integers(4)
        rows, columns = max(1, int(h * depth)), max(1, int(w * depth))
        alpha[(slice(rows), slice(-rows, None), slice(None), slice(None))[side],
              (slice(None), slice(None), slice(columns), slice(-columns, None))[side]] = 1  # fmt: skip
    tone = (0, 0, 0) if rng.random() < 0.6 else canvas.colour()
    return alpha, np.full((h, w, 3), np.array(tone, np.float32) / 255, np.float32)
