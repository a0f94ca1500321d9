"""Outdoors: foliage, and landscapes with sky, skyline and ground."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facezoo.synth import noise
from facezoo.synth.background.colours import pick, random_colour, shaded
from facezoo.synth.background.fields import Size, centred_grid, through_ramp


def paint_foliage(rng: np.random.Generator, size: Size) -> Image.Image:
    """Leaves in front of dark green, with specks of sky."""
    w, h = size
    hue = rng.normal(0.27, 0.07) if rng.random() < 0.8 else rng.normal(0.08, 0.04)
    lush = rng.uniform(0.2, 0.85)
    stops = [
        colorsys.hsv_to_rgb((hue + 0.06 * (t - 0.5)) % 1, rng.uniform(0.5, 1) * lush, 0.08 + 0.8 * t)
        for t in np.linspace(0, 1, 9)
    ]
    grid = np.linspace(0, 8, 256)
    ramp = np.stack([np.interp(grid, range(9), [c[i] * 255 for c in stops]) for i in range(3)], -1).astype(
        np.uint8
    )
    field = noise.warped(rng, "rough", (h, w), float(rng.uniform(0.6, 2.5)), 8) * np.float32(
        rng.uniform(0.4, 1)
    )
    image = through_ramp(field, ramp)
    draw = ImageDraw.Draw(image)
    length = max(size) * np.exp(rng.uniform(np.log(0.01), np.log(0.09)))
    count = int(rng.integers(20, 110))
    tones = ramp[rng.integers(60, 256, count)].tolist()
    places, angles = rng.random((count, 2)) * (w, h), rng.uniform(0, 6.3, count)
    for (x, y), angle, tone in zip(places, angles, tones, strict=True):
        c, s = np.cos(angle) * length, np.sin(angle) * length
        side = (-0.3 * s, 0.3 * c)
        leaf = [
            (x, y),
            (x + c + side[0], y + s + side[1]),
            (x + 2 * c, y + 2 * s),
            (x + c - side[0], y + s - side[1]),
        ]
        draw.polygon(leaf, fill=tuple(tone))
    if rng.random() < 0.5:
        sky = Image.new("RGB", size, (235, 242, 255) if rng.random() < 0.6 else random_colour(rng, (0.7, 1)))
        holes = noise.crop(rng, "rough", (h, w), 2) < rng.uniform(0, 0.25)
        image.paste(sky, (0, 0), Image.fromarray(holes))
    return image


def paint_outdoor(rng: np.random.Generator, size: Size) -> Image.Image:
    """Sky with clouds, a skyline, hills or trees, and ground that is compressed towards the horizon."""
    w, h = size
    horizon = rng.uniform(0.15, 1.0)
    hue, dusk = rng.normal(0.58, 0.03), rng.random() < 0.2
    top = np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.05, 0.75), rng.uniform(0.3, 1))) * 255
    low = np.array(
        (255, rng.uniform(120, 220), rng.uniform(60, 180))
        if dusk
        else top + (255 - top) * rng.uniform(0.2, 0.9)
    )
    t = np.clip((centred_grid(size)[1] + 1) / 2 / np.float32(horizon), 0, 1) * 0.99
    field = np.broadcast_to(t, (h, w))
    image = through_ramp(field, (top + (low - top) * np.linspace(0, 1, 256)[:, None]).astype(np.uint8))
    if rng.random() < 0.6:
        cloud = np.clip(
            noise.crop(rng, "fbm", (h, w), rng.uniform(0.7, 3)) * rng.uniform(1, 3) - rng.uniform(0.3, 1.4),
            0,
            1,
        )
        image.paste((250, 250, 252), (0, 0), Image.fromarray((cloud * 255).astype(np.uint8)))
    draw = ImageDraw.Draw(image)
    line = horizon * h
    for _ in range(int(rng.integers(0, 3))):
        kind, tone = rng.integers(3), random_colour(rng, (0.1, 0.7), 0.1)
        if kind == 0:  # hills
            outline = noise.crop(rng, "fbm", (1, w), rng.uniform(0.8, 3))[0]
            ridge = line - h * rng.uniform(0.05, 0.45) * outline
            draw.polygon([(0, h), *enumerate(ridge.tolist()), (w, h)], fill=tone)
        elif kind == 1:  # buildings
            x = -rng.uniform(0, 0.1) * w
            while x < w:
                wide, tall = rng.uniform(0.05, 0.3) * w, rng.uniform(0.05, 0.7) * h
                draw.rectangle((x, line - tall, x + wide, line), fill=shaded(tone, rng.uniform(0.6, 1.5)))
                for y in np.arange(line - tall + 3, line - 3, rng.uniform(5, 12)):
                    draw.line((x + 2, y, x + wide - 3, y), fill=shaded(tone, 0.5), width=2)
                x += wide * rng.uniform(0.8, 1.6)
        else:  # trees
            green = shaded((70, 110, 50), rng.uniform(0.4, 1.3))
            for _ in range(int(rng.integers(3, 14))):
                x, r = rng.uniform(0, w), rng.uniform(0.04, 0.2) * h
                y = line - r * rng.uniform(0.3, 1.5)
                draw.rectangle((x - r * 0.1, y, x + r * 0.1, line), fill=(60, 45, 35))
                draw.ellipse((x - r, y - r, x + r, y + r), fill=shaded(green, rng.uniform(0.7, 1.3)))
    depth = h - int(line)
    if depth > 2:
        ground = through_ramp(
            noise.crop(rng, pick(rng, ["rough", "fbm", "billow", "spots"]), (depth, w), 1.5), _ground(rng)
        )
        squeeze = ground.transform((w, depth), Image.Transform.QUAD,
                                   (0.4 * w, 0, 0, depth, w, depth, 0.6 * w, 0), Image.Resampling.BILINEAR)  # fmt: skip
        image.paste(squeeze, (0, int(line)))
    return image


def _ground(rng: np.random.Generator) -> NDArray[np.uint8]:
    base = [(90, 130, 50), (190, 170, 130), (110, 110, 115), (60, 100, 140), (235, 238, 245), (110, 85, 60)]
    tone = np.array(base[int(rng.integers(len(base)))]) * rng.uniform(0.6, 1.1)
    return np.clip(tone * np.linspace(rng.uniform(0.4, 0.9), 1.2, 256)[:, None], 0, 255).astype(np.uint8)
