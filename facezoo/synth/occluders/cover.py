"""Whatever else comes between face and lens: patches, blurred foreground, strands, veils."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from facezoo.synth import noise
from facezoo.synth.background import sample_background
from facezoo.synth.occluders.canvas import BYTE, Canvas, Layer


def draw_patch(canvas: Canvas) -> Layer:
    """A random polygon or ellipse with a random picture inside."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    mask = Image.new("L", (w, h))
    draw = ImageDraw.Draw(mask)
    middle = canvas.on_face(rng.random(), rng.random(), 0.2)
    radius = canvas.face * rng.uniform(0.1, 0.4)
    if rng.random() < 0.5:
        rx, ry = radius * rng.uniform(0.5, 1.3, 2)
        draw.ellipse((middle[0] - rx, middle[1] - ry, middle[0] + rx, middle[1] + ry), fill=255)
    else:
        count = int(rng.integers(3, 9))
        turn = np.sort(rng.uniform(0, 2 * np.pi, count))
        reach = radius * rng.uniform(0.5, 1.4, count)
        corners = np.stack([middle[0] + reach * np.cos(turn), middle[1] + reach * np.sin(turn)], -1)
        draw.polygon([tuple(c) for c in corners.tolist()], fill=255)
    alpha = np.asarray(mask.filter(ImageFilter.BoxBlur(0.7))) * BYTE
    colour = np.zeros((h, w, 3), np.float32)
    x0, y0, x1, y1 = mask.getbbox() or (0, 0, 1, 1)
    # One pixel more on each side for the softened edge.
    rows, columns = slice(max(y0 - 1, 0), y1 + 1), slice(max(x0 - 1, 0), x1 + 1)
    colour[rows, columns] = sample_background(rng, colour[rows, columns].shape[:2])
    return alpha, colour


def draw_foreground(canvas: Canvas) -> Layer:
    """Something large and out of focus that enters from a side: a shoulder, a leaf, a door frame."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    side = rng.uniform(0, 2 * np.pi)
    out = np.array([np.cos(side), np.sin(side)])
    middle = canvas.centre + out * canvas.face * rng.uniform(0.55, 1.1)
    small = (max(8, w // 2), max(8, h // 2))
    mask = Image.new("L", small)
    draw = ImageDraw.Draw(mask)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (middle + rng.normal(0, 0.15, 2) * canvas.face) / 2
        rx, ry = canvas.face * rng.uniform(0.1, 0.4, 2) / 2
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=255)
    mask = mask.filter(
        ImageFilter.BoxBlur(small[0] * float(np.exp(rng.uniform(np.log(0.005), np.log(0.06)))))
    )
    alpha = np.asarray(mask.resize((w, h), Image.Resampling.BILINEAR)) * np.float32(
        rng.uniform(0.75, 1) / 255
    )
    if rng.random() < 0.5:
        tone = np.array(canvas.skin if rng.random() < 0.3 else canvas.colour(), np.float32) / 255
        shade = 0.6 + 0.4 * noise.crop(rng, "fbm", (h, w), 2)
        return alpha, np.stack([shade * c for c in tone], -1)
    return alpha, sample_background(rng, (h, w), blur=0.03)


def draw_strands(canvas: Canvas) -> Layer:
    """Flyaway hair, wires, twigs, bars: thin curves across the face."""
    rng = canvas.rng
    w, h = canvas.width, canvas.height
    mask = Image.new("L", (2 * w, 2 * h))
    draw = ImageDraw.Draw(mask)
    count = int(np.exp(rng.uniform(0, np.log(25))))
    wide = 2 * canvas.face * float(np.exp(rng.uniform(np.log(0.004), np.log(0.08 if count < 6 else 0.012))))
    start = canvas.on_face(rng.random(), rng.uniform(-0.2, 0.6), 0.2)
    angle, bend = rng.uniform(0, np.pi), rng.normal(0, 0.6)
    t = np.linspace(-1.6, 1.6, 14)
    for _ in range(count):
        a = angle + rng.normal(0, 0.15)
        curve = (bend + rng.normal(0, 0.15)) * t * t * canvas.face * 0.5
        x = start[0] + np.cos(a) * t * canvas.face - np.sin(a) * curve
        y = start[1] + np.sin(a) * t * canvas.face + np.cos(a) * curve
        draw.line(
            [tuple(p) for p in (2 * np.stack([x, y], -1)).tolist()],
            fill=int(rng.uniform(150, 255)),
            width=max(1, round(wide)),
            joint="curve",
        )
        start = start + rng.normal(0, 0.05, 2) * canvas.face
    alpha = np.asarray(mask.reduce(2)) * BYTE
    tone = np.array(canvas.colour(0, 0.6), np.float32) / 255
    shade = 0.5 + 0.8 * noise.crop(rng, "rough", (h, w), 1)
    return alpha, np.minimum(np.stack([shade * c for c in tone], -1), 1)


def draw_veil(canvas: Canvas) -> Layer:
    """Smoke, a reflection on glass, flare, rain on a window: partly transparent."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    kind = ("fbm", "ridged", "billow", "smooth", "spots")[int(rng.random() * 5)]
    field = noise.crop(rng, kind, (h, w), float(rng.uniform(0.7, 3)))
    alpha = np.clip(
        field * rng.uniform(0.7, 1.5) - rng.uniform(0.2, 0.7),
        0,
        rng.uniform(0.2, 0.6),
    )
    tone = np.array(canvas.colour(0.5, 1) if rng.random() < 0.8 else canvas.colour(), np.float32) / 255
    return alpha, np.broadcast_to(tone, (h, w, 3)).copy()
