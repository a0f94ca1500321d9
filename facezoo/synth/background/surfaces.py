"""Plain and patterned surfaces: noise, gradients, studio sweeps, stripes, cloth, bricks, dead leaves."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from facezoo.synth import noise
from facezoo.synth.background.colours import pick, random_colour, random_ramp, shaded
from facezoo.synth.background.fields import Size, centred_grid, random_axis, through_ramp


def paint_texture(rng: np.random.Generator, size: Size) -> Image.Image:
    """Noise of any kind, zoomed and perhaps warped, through a ramp."""
    w, h = size
    kind = pick(rng, noise.KINDS[:-1])
    zoom = float(np.exp(rng.uniform(np.log(0.5), np.log(5))) * max(size) / 192)
    if rng.random() < 0.35:
        field = noise.warped(rng, kind, (h, w), zoom, float(rng.uniform(5, 50)))
    else:
        field = noise.crop(rng, kind, (h, w), zoom)
    return through_ramp(field, random_ramp(rng))


def paint_gradient(rng: np.random.Generator, size: Size) -> Image.Image:
    """A straight or round gradient, perhaps cloudy."""
    x, y = centred_grid(size)
    if rng.random() < 0.5:
        field = random_axis(rng, size) * 0.5 + 0.5
    else:
        cx, cy = rng.uniform(-1, 1, 2).astype(np.float32)
        field = np.hypot(x - cx, y - cy) * rng.uniform(0.4, 1.2)
    if rng.random() < 0.5:
        field = field + noise.crop(rng, "fbm", (size[1], size[0]), 2) * rng.uniform(0, 0.5)
    return through_ramp(np.clip(field, 0, 1), random_ramp(rng))


def paint_studio(rng: np.random.Generator, size: Size) -> Image.Image:
    """One colour, dimmer away from where the lamp points."""
    x, y = centred_grid(size)
    base = random_colour(rng, vivid=0.25)
    dim = 0.9 * rng.random() ** 2
    cx, cy = rng.normal(0, 0.4, 2).astype(np.float32)
    field = np.clip(1 - np.float32(dim) * ((x - cx) ** 2 + (y - cy) ** 2), 0, 1)
    return through_ramp(field, (np.linspace(0, 1, 256)[:, None] * np.array(base)).astype(np.uint8))


def paint_pattern(rng: np.random.Generator, size: Size) -> Image.Image:
    """Stripes, checks, plaid, waves or dots, flat or on cloth-like folds."""
    angle = pick(rng, [0, np.pi / 2, rng.uniform(0, np.pi)])
    count = float(np.exp(rng.uniform(np.log(2), np.log(25))))
    u, v = (
        random_axis(rng, size, angle) * np.float32(count),
        random_axis(rng, size, angle + np.pi / 2) * np.float32(count),
    )
    if rng.random() < 0.4:
        fold = noise.crop(rng, "smooth", (size[1], size[0]), 3) * rng.uniform(0.5, 3)
        u, v = u + fold, v + fold
    kind = rng.integers(5)
    if kind == 0:
        field = u % 1
    elif kind == 1:
        field = ((np.floor(u) + np.floor(v)) % 2) * 0.99
    elif kind == 2:
        field = (u % 1 < rng.uniform(0.1, 0.6)) * 0.5 + (v % 1 < rng.uniform(0.1, 0.6)) * 0.49
    elif kind == 3:
        field = (u + 0.4 * np.sin(v * 3)) % 1
    else:
        field = np.minimum(np.hypot(u % 1 - 0.5, v % 1 - 0.5) * 2, 1)
    ramp = random_ramp(rng, int(rng.integers(2, 5)))
    if rng.random() < 0.7:  # hard bands
        ramp = ramp[(np.arange(256) // 64) * 85]
    return through_ramp(field.astype(np.float32), ramp)


def paint_curtain(rng: np.random.Generator, size: Size) -> Image.Image:
    """Cloth in folds."""
    u = random_axis(rng, size, rng.normal(0, 0.15)) * rng.uniform(4, 25)
    bend = noise.crop(rng, "fbm", (size[1], size[0]), 3) * rng.uniform(1, 6)
    field = 0.5 + 0.45 * np.sin(u + bend)
    base = np.array(random_colour(rng, (0.3, 1), 0.3))
    ramp = base * np.linspace(rng.uniform(0.1, 0.7), 1.05, 256)[:, None]
    return through_ramp(field, np.minimum(ramp, 255).astype(np.uint8))


def paint_bricks(rng: np.random.Generator, size: Size) -> Image.Image:
    """Bricks, tiles or planks with joints, each of its own tone."""
    w, h = size
    joint = random_colour(rng)
    image = Image.new("RGB", size, joint)
    draw = ImageDraw.Draw(image)
    base = random_colour(rng, (0.25, 0.95), 0.2)
    tall = max(4, h * rng.uniform(0.05, 0.22))
    wide = tall * pick(rng, [1, 2.2, 6])
    gap, spread, shift = rng.uniform(0.5, 2.5), rng.uniform(0.02, 0.3), pick(rng, [0, 0.5])
    for j in range(int(h / tall) + 1):
        for i in range(-1, int(w / wide) + 1):
            x, y = (i + (j % 2) * shift) * wide, j * tall
            draw.rectangle((x, y, x + wide - gap, y + tall - gap), fill=shaded(base, rng.normal(1, spread)))
    return image


def paint_leaves(rng: np.random.Generator, size: Size) -> Image.Image:
    """Dead leaves: overlapping shapes with a power law of sizes, the statistics of natural images."""
    w, h = size
    image = paint_gradient(rng, size) if rng.random() < 0.5 else Image.new("RGB", size, random_colour(rng))
    draw = ImageDraw.Draw(image)
    ramp = random_ramp(rng, int(rng.integers(3, 7)), vivid=rng.random() * 0.6)
    count = int(rng.integers(20, 130))
    radii = max(size) * np.minimum(0.02 / rng.random(count), rng.uniform(0.1, 0.45))
    sides = int(pick(rng, [0, 3, 4, 5, 7]))
    places, tones = rng.random((count, 2)) * (w, h), ramp[rng.integers(0, 256, count)].tolist()
    for radius, (x, y), tone in zip(radii, places, tones, strict=True):
        fill = tuple(tone)
        if sides:
            turn = rng.uniform(0, 6.3)
            corners = turn + np.arange(sides) * 2 * np.pi / sides + rng.uniform(-0.5, 0.5, sides)
            draw.polygon(
                list(zip(x + radius * np.cos(corners), y + radius * np.sin(corners), strict=True)), fill=fill
            )
        else:
            ry = radius * rng.uniform(0.4, 1)
            draw.ellipse((x - radius, y - ry, x + radius, y + ry), fill=fill)
    return image
