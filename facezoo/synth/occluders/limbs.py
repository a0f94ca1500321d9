"""Rounded limbs: shaded capsules, and the hands and arms made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facezoo.synth import noise
from facezoo.synth.background import Colour
from facezoo.synth.occluders.canvas import Canvas, Layer


def shade_capsules(
    canvas: Canvas, parts: list[tuple[NDArray, NDArray, float, float, float]], tone: Colour
) -> Layer:
    """Shade rounded limbs given as (start, end, radius at start, radius at end, height above the picture)."""
    joints = np.array([(*p, max(r0, r1) + 2) for a, b, r0, r1, _ in parts for p in (a, b)])
    low = np.maximum(np.floor((joints[:, :2] - joints[:, 2:]).min(0)), 0).astype(int)
    high = np.minimum(np.ceil((joints[:, :2] + joints[:, 2:]).max(0)), (canvas.width, canvas.height)).astype(
        int
    )
    full = (
        np.zeros((canvas.height, canvas.width), np.float32),
        np.zeros((canvas.height, canvas.width, 3), np.float32),
    )
    w, h = np.maximum(high - low, 0)
    if min(w, h) < 2:
        return full
    height = np.zeros((h, w), np.float32)
    alpha = np.zeros((h, w), np.float32)
    rim = np.ones((h, w), np.float32)
    for start, end, r0, r1, lift in parts:
        start, end = start - low, end - low
        reach = max(r0, r1) + 1
        x0, y0 = np.maximum(np.floor(np.minimum(start, end) - reach), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(np.maximum(start, end) + reach), (w, h)).astype(int)
        if x1 <= x0 or y1 <= y0:
            continue
        x = np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5 - start[0])
        y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - start[1])
        dx, dy = (end - start).astype(np.float32)
        t = np.clip((x * dx + y * dy) / max(float(dx * dx + dy * dy), 1e-6), 0, 1)
        distance = np.hypot(x - t * dx, y - t * dy)
        radius = np.float32(r0) + t * np.float32(r1 - r0)
        dome = np.sqrt(np.maximum(1 - (distance / radius) ** 2, 0))
        top = dome * radius + np.float32(lift)
        window = (slice(y0, y1), slice(x0, x1))
        front = (top > height[window]) & (distance < radius)
        height[window] = np.where(front, top, height[window])
        rim[window] = np.where(front, dome, rim[window])
        alpha[window] = np.maximum(alpha[window], np.clip(radius - distance + 0.5, 0, 1))
    gy, gx = np.gradient(height)
    lx, ly, lz = canvas.light
    # Slopes at the rim are infinite; halving them keeps the limb from being outlined in black.
    gx, gy = np.clip(gx, -2, 2) * 0.5, np.clip(gy, -2, 2) * 0.5
    lambert = (lz - gx * lx - gy * ly) / np.sqrt(1 + gx * gx + gy * gy)
    shade = 0.35 + 0.75 * np.maximum(lambert, 0)
    shade *= 0.7 + 0.3 * np.sqrt(rim)
    mottle = noise.crop(canvas.rng, "fbm", (h, w), 0.7)
    shade *= 0.9 + 0.2 * mottle
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    full[0][window] = alpha
    full[1][window] = np.stack([np.clip(shade * np.float32(c / 255), 0, 1) for c in tone], -1)
    return full


def draw_hand(canvas: Canvas) -> Layer:
    """Palm, fingers, thumb and forearm: in front of the mouth, at a cheek, the chin, the brow or an eye."""
    rng = canvas.rng
    spots = [
        (0.5, 0.85),
        (0.15, 0.7),
        (0.85, 0.7),
        (0.5, 1.1),
        (0.1, 0.15),
        (0.9, 0.15),
        (0.5, 0.0),
        (0.2, 0.35),
        (0.8, 0.35),
    ]
    palm = canvas.on_face(*spots[int(rng.random() * len(spots))])
    scale = canvas.face * rng.uniform(0.28, 0.5)  # half a hand's length: hands are about as long as faces
    out = palm - canvas.centre + rng.normal(0, 0.3, 2) * canvas.face + np.array([0, 0.3]) * canvas.face
    away = np.arctan2(out[1], out[0])  # the forearm leaves the face
    along = away + np.pi + rng.normal(0, 0.5)
    direction = np.array([np.cos(along), np.sin(along)])
    side = np.array([-direction[1], direction[0]]) * (1 if rng.random() < 0.5 else -1)
    thick = scale * rng.uniform(0.13, 0.19)
    parts = [
        (palm - direction * scale * 0.5, palm - np.array([np.cos(away + np.pi), np.sin(away + np.pi)]) * scale * 6,
         scale * 0.36, scale * 0.6, 0.0),
        (palm - direction * scale * 0.45, palm + direction * scale * 0.3, scale * 0.42, scale * 0.45, 0.0),
    ]  # fmt: skip
    curl = rng.uniform(0.35, 1.0)
    spread = rng.uniform(0.02, 0.25)
    shown = int(rng.choice([1, 2, 4, 4, 4, 4]))
    for i in range(4):
        root = palm + direction * scale * 0.42 + side * scale * 0.24 * (i - 1.5)
        length = scale * (0.95, 1.05, 1.0, 0.78)[i] * curl * (1 if i < shown else 0.35)
        turn = along + (i - 1.5) * spread * (
            1 if side @ np.array([-np.sin(along), np.cos(along)]) > 0 else -1
        )
        bone = np.array([np.cos(turn), np.sin(turn)])
        bend = turn + rng.normal(0, 0.25)
        middle = root + bone * length * 0.5
        tip = middle + np.array([np.cos(bend), np.sin(bend)]) * length * 0.5
        parts += [
            (root, middle, thick, thick * 0.95, 1.0 + i * 0.3),
            (middle, tip, thick * 0.95, thick * 0.75, 1.0 + i * 0.3),
        ]
    root = palm - side * scale * 0.3 - direction * scale * 0.2
    handed = np.sign(direction[0] * side[1] - direction[1] * side[0])
    thumb = along - handed * rng.uniform(0.3, 1.2)
    tip = root + np.array([np.cos(thumb), np.sin(thumb)]) * scale * 0.75
    parts.append((root, tip, thick * 1.25, thick * 0.9, 2.0))
    return shade_capsules(canvas, parts, canvas.skin)


def draw_arm(canvas: Canvas) -> Layer:
    """A bare or sleeved arm across the picture."""
    rng = canvas.rng
    angle = rng.uniform(0, np.pi)
    middle = canvas.on_face(*rng.choice([(0.5, 1.15), (0.0, 0.5), (1.0, 0.5), (0.5, -0.1), (0.5, 0.95)]))
    direction = np.array([np.cos(angle), np.sin(angle)]) * canvas.face * 3
    thick = canvas.face * rng.uniform(0.1, 0.28)
    tone = canvas.skin if rng.random() < 0.5 else canvas.colour()
    bend = middle + rng.normal(0, 0.15, 2) * canvas.face
    return shade_capsules(
        canvas,
        [(middle - direction, bend, thick, thick, 0), (bend, middle + direction, thick, thick * 0.8, 0)],
        tone,
    )
