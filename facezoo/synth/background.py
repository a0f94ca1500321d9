"""Backgrounds behind the synthetic people: two dozen kinds of cheap clutter, defocused and recoloured.

A network only learns to ignore what it has seen. Nothing here has to be beautiful; it has to differ: smooth studio
sweeps, textures, rooms, streets, greenery, crowds, writing, and skin-coloured shapes that are no faces. Every painter
draws 8-bit sRGB with Pillow, then one finish (defocus, light fall-off, colour cast) covers all of them.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from facezoo.errors import InputError, unknown_name
from facezoo.synth import noise

Colour = tuple[int, int, int]
T = TypeVar("T")
Size = tuple[int, int]
"""(width, height), Pillow's order; only the public function speaks (height, width)."""


def _colour(rng: np.random.Generator, value: tuple[float, float] = (0.05, 1.0), vivid: float = 0.2) -> Colour:
    """Draw a colour: mostly muted like the real world's surfaces, saturated with probability ``vivid``."""
    saturation = rng.uniform(0.5, 1) if rng.random() < vivid else rng.beta(1.1, 4)
    # Warm hues dominate indoors and out; the rest is uniform.
    hue = rng.normal(0.09, 0.05) % 1 if rng.random() < 0.4 else rng.random()
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, rng.uniform(*value))
    return int(r * 255), int(g * 255), int(b * 255)


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Choose one, ten times faster than ``rng.choice``."""
    return options[int(rng.random() * len(options))]


def _shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (min(255, int(c * factor)) for c in colour)
    return r, g, b


def skin_colour(rng: np.random.Generator) -> Colour:
    """Draw an sRGB skin-like colour, dark to light, under some light."""
    dark, light = np.array([52, 32, 24.0]), np.array([238, 200, 178.0])
    r, g, b = (
        (dark + (light - dark) * rng.random() ** 0.8)
        * rng.uniform(0.6, 1.08)
        * np.exp(rng.normal(0, 0.05, 3))
    )
    return int(np.clip(r, 0, 255)), int(np.clip(g, 0, 255)), int(np.clip(b, 0, 255))


def _ramp(rng: np.random.Generator, stops: int = 0, vivid: float = 0.2) -> NDArray[np.uint8]:
    """A lookup table (256, 3) through random colours; few stops are close to each other more often than not."""
    stops = stops or int(rng.integers(2, 6))
    colours = np.array([_colour(rng, vivid=vivid) for _ in range(stops)], np.float32)
    if rng.random() < 0.5:
        colours = colours[:1] + (colours - colours[:1]) * rng.uniform(0.1, 0.6)
    at = np.sort(rng.random(stops)) if rng.random() < 0.5 else np.linspace(0, 1, stops)
    grid = np.linspace(0, 1, 256)
    return np.stack([np.interp(grid, at, colours[:, c]) for c in range(3)], -1).astype(np.uint8)


def _map(field: NDArray[np.floating], ramp: NDArray[np.uint8]) -> Image.Image:
    """Colour a field in [0, 1] through a ramp."""
    # Pillow expands a palette five times faster than NumPy indexes rows of three bytes.
    image = Image.fromarray((field * 255).astype(np.uint8)).convert("P")
    image.putpalette(ramp.tobytes())
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _grid(size: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centred coordinates x, y (1, w), (h, 1) with the longer side in [-1, 1]."""
    w, h = size
    half = max(size) / 2
    x = (np.arange(w, dtype=np.float32) + 0.5 - w / 2) / np.float32(half)
    y = (np.arange(h, dtype=np.float32) + 0.5 - h / 2) / np.float32(half)
    return x[None], y[:, None]


def _along(rng: np.random.Generator, size: Size, angle: float | None = None) -> NDArray[np.float32]:
    """Coordinate (h, w) along a random direction, in [-1.42, 1.42]."""
    x, y = _grid(size)
    a = rng.uniform(0, 2 * np.pi) if angle is None else angle
    return x * np.float32(np.cos(a)) + y * np.float32(np.sin(a))


def _texture(rng: np.random.Generator, size: Size) -> Image.Image:
    w, h = size
    kind = _pick(rng, noise.KINDS[:-1])
    zoom = float(np.exp(rng.uniform(np.log(0.5), np.log(5))) * max(size) / 192)
    if rng.random() < 0.35:
        field = noise.warped(rng, kind, (h, w), zoom, float(rng.uniform(5, 50)))
    else:
        field = noise.crop(rng, kind, (h, w), zoom)
    return _map(field, _ramp(rng))


def _gradient(rng: np.random.Generator, size: Size) -> Image.Image:
    x, y = _grid(size)
    if rng.random() < 0.5:
        field = _along(rng, size) * 0.5 + 0.5
    else:
        cx, cy = rng.uniform(-1, 1, 2).astype(np.float32)
        field = np.hypot(x - cx, y - cy) * rng.uniform(0.4, 1.2)
    if rng.random() < 0.5:
        field = field + noise.crop(rng, "fbm", (size[1], size[0]), 2) * rng.uniform(0, 0.5)
    return _map(np.clip(field, 0, 1), _ramp(rng))


def _studio(rng: np.random.Generator, size: Size) -> Image.Image:
    x, y = _grid(size)
    base = _colour(rng, vivid=0.25)
    dim = 0.9 * rng.random() ** 2
    cx, cy = rng.normal(0, 0.4, 2).astype(np.float32)
    field = np.clip(1 - np.float32(dim) * ((x - cx) ** 2 + (y - cy) ** 2), 0, 1)
    return _map(field, (np.linspace(0, 1, 256)[:, None] * np.array(base)).astype(np.uint8))


def _pattern(rng: np.random.Generator, size: Size) -> Image.Image:
    """Stripes, checks, plaid, waves or dots, flat or on cloth-like folds."""
    angle = _pick(rng, [0, np.pi / 2, rng.uniform(0, np.pi)])
    count = float(np.exp(rng.uniform(np.log(2), np.log(25))))
    u, v = (
        _along(rng, size, angle) * np.float32(count),
        _along(rng, size, angle + np.pi / 2) * np.float32(count),
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
    ramp = _ramp(rng, int(rng.integers(2, 5)))
    if rng.random() < 0.7:  # hard bands
        ramp = ramp[(np.arange(256) // 64) * 85]
    return _map(field.astype(np.float32), ramp)


def _leaves(rng: np.random.Generator, size: Size) -> Image.Image:
    """Dead leaves: overlapping shapes with a power law of sizes, the statistics of natural images."""
    w, h = size
    image = _gradient(rng, size) if rng.random() < 0.5 else Image.new("RGB", size, _colour(rng))
    draw = ImageDraw.Draw(image)
    ramp = _ramp(rng, int(rng.integers(3, 7)), vivid=rng.random() * 0.6)
    count = int(rng.integers(20, 130))
    radii = max(size) * np.minimum(0.02 / rng.random(count), rng.uniform(0.1, 0.45))
    sides = int(_pick(rng, [0, 3, 4, 5, 7]))
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


def _foliage(rng: np.random.Generator, size: Size) -> Image.Image:
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
    image = _map(field, ramp)
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
        sky = Image.new("RGB", size, (235, 242, 255) if rng.random() < 0.6 else _colour(rng, (0.7, 1)))
        holes = noise.crop(rng, "rough", (h, w), 2) < rng.uniform(0, 0.25)
        image.paste(sky, (0, 0), Image.fromarray(holes))
    return image


def _bokeh(rng: np.random.Generator, size: Size) -> Image.Image:
    """Out-of-focus lights: additive discs on a dim ground."""
    dim = rng.uniform(0.1, 0.7)
    image = _gradient(rng, size).point([int(i * dim) for i in range(256)] * 3)
    radius = max(size) * rng.uniform(0.015, 0.09)
    for _ in range(3):  # three layers whose discs add up where they cross
        layer = Image.new("RGB", size)
        draw = ImageDraw.Draw(layer)
        warm = rng.random() < 0.6
        for _ in range(int(rng.integers(3, 18))):
            x, y = rng.random(2) * size
            r = radius * rng.uniform(0.6, 1.4)
            tone = _shade(
                (255, 200, 120) if warm and rng.random() < 0.7 else _colour(rng, (0.6, 1), 0.6),
                rng.uniform(0.2, 0.9),
            )
            draw.ellipse((x - r, y - r, x + r, y + r), fill=tone, outline=_shade(tone, 1.25))
        image = ImageChops.add(image, layer)
    return image


def _windows(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]
) -> None:
    """A bright window with glazing bars, or a door, or a dark screen, inside a box."""
    x0, y0, x1, y1 = box
    frame = _colour(rng)
    bright = rng.random() < 0.7
    pane = _colour(rng, (0.75, 1), 0.1) if bright else _colour(rng, (0, 0.3))
    draw.rectangle(box, fill=pane, outline=frame, width=max(1, int((x1 - x0) * 0.06)))
    for i in range(1, int(rng.integers(1, 4))):
        x = x0 + (x1 - x0) * i / 2
        draw.line((x, y0, x, y1), fill=frame, width=max(1, int((x1 - x0) * 0.04)))
    for i in range(1, int(rng.integers(1, 4))):
        y = y0 + (y1 - y0) * i / 3
        draw.line((x0, y, x1, y), fill=frame, width=max(1, int((x1 - x0) * 0.04)))


def _room(rng: np.random.Generator, size: Size) -> Image.Image:
    """Walls in perspective, window or door, furniture-like boxes, a lamp."""
    w, h = size
    wall = _colour(rng, (0.3, 1), 0.1)
    image = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(image)
    x0, x1 = np.sort(rng.uniform(-0.4, 1.4, 2)) * w
    floor, ceiling = rng.uniform(0.55, 1.15) * h, rng.uniform(-0.3, 0.3) * h
    slope = rng.uniform(0.2, 0.7)
    draw.polygon(
        [(x0, ceiling), (x0, floor), (-9, floor + (x0 + 9) * slope), (-9, ceiling - (x0 + 9) * slope)],
        fill=_shade(wall, rng.uniform(0.5, 1.2)),
    )
    draw.polygon(
        [
            (x1, ceiling),
            (x1, floor),
            (w + 9, floor + (w + 9 - x1) * slope),
            (w + 9, ceiling - (w + 9 - x1) * slope),
        ],
        fill=_shade(wall, rng.uniform(0.5, 1.2)),
    )
    draw.polygon(
        [
            (x0, floor),
            (x1, floor),
            (w + 9, floor + (w + 9 - x1) * slope),
            (w + 9, h + 9),
            (-9, h + 9),
            (-9, floor + (x0 + 9) * slope),
        ],
        fill=_colour(rng, (0.1, 0.8)),
    )
    draw.polygon(
        [
            (x0, ceiling),
            (x1, ceiling),
            (w + 9, ceiling - (w + 9 - x1) * slope),
            (w + 9, -9),
            (-9, -9),
            (-9, ceiling - (x0 + 9) * slope),
        ],
        fill=_shade(wall, 1.2),
    )
    for _ in range(int(rng.integers(0, 4))):
        ww, wh = rng.uniform(0.1, 0.45) * w, rng.uniform(0.15, 0.6) * h
        x, y = rng.uniform(-0.1, 0.95) * w, rng.uniform(-0.1, 0.5) * h
        _windows(rng, draw, (x, y, x + ww, y + wh))
    for _ in range(int(rng.integers(0, 7))):
        bw, bh = rng.uniform(0.05, 0.5) * w, rng.uniform(0.05, 0.5) * h
        x, y = rng.uniform(-0.2, 1) * w, rng.uniform(0.35, 1) * h
        tone = _colour(rng, (0.05, 0.8), 0.25)
        draw.rectangle((x, y, x + bw, y + bh), fill=tone)
        draw.rectangle((x, y, x + bw, y + bh * 0.12), fill=_shade(tone, 1.3))
    if rng.random() < 0.4:
        x, y, r = rng.uniform(0, w), rng.uniform(0, 0.5) * h, rng.uniform(0.02, 0.1) * w
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 246, 222))
    return image


def _facade(rng: np.random.Generator, size: Size) -> Image.Image:
    """A house front: a grid of windows, some lit."""
    w, h = size
    wall = _colour(rng, (0.1, 0.9), 0.15)
    image = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(image)
    nx, ny = int(rng.integers(2, 10)), int(rng.integers(2, 10))
    mx, my = rng.uniform(0.08, 0.35, 2)
    glass, lit = _colour(rng, (0.05, 0.6)), _colour(rng, (0.7, 1), 0.3)
    share = rng.random() ** 2
    ox, oy = rng.random(2)
    for i in range(-1, nx + 1):
        for j in range(-1, ny + 1):
            x, y = (i + ox) * w / nx, (j + oy) * h / ny
            tone = lit if rng.random() < share else _shade(glass, rng.uniform(0.7, 1.3))
            draw.rectangle(
                (x + mx * w / nx, y + my * h / ny, x + (1 - mx) * w / nx, y + (1 - my) * h / ny), fill=tone
            )
    return image


def _shelf(rng: np.random.Generator, size: Size) -> Image.Image:
    """Rows of books, bottles or boxes on boards."""
    w, h = size
    image = Image.new("RGB", size, _colour(rng, (0.02, 0.4)))
    draw = ImageDraw.Draw(image)
    rows = int(rng.integers(2, 6))
    board = _colour(rng, (0.2, 0.9))
    mean = w * rng.uniform(0.025, 0.09)
    vivid = rng.uniform(0.1, 0.7)
    for row in range(rows):
        bottom, x = (row + 1) * h / rows, -rng.uniform(0, mean)
        while x < w:
            thick = mean * rng.uniform(0.4, 1.6)
            top = bottom - h / rows * rng.uniform(0.5, 0.92)
            if rng.random() < 0.88:
                tone = _colour(rng, (0.1, 0.95), vivid)
                draw.rectangle((x, top, x + max(thick - 1, 1), bottom), fill=tone)
                draw.line((x + thick * 0.3, top, x + thick * 0.3, bottom), fill=_shade(tone, 1.3))
            x += thick
        draw.rectangle((0, bottom - h * 0.02, w, bottom), fill=board)
    return image


def _outdoor(rng: np.random.Generator, size: Size) -> Image.Image:
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
    t = np.clip((_grid(size)[1] + 1) / 2 / np.float32(horizon), 0, 1) * 0.99
    field = np.broadcast_to(t, (h, w))
    image = _map(field, (top + (low - top) * np.linspace(0, 1, 256)[:, None]).astype(np.uint8))
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
        kind, tone = rng.integers(3), _colour(rng, (0.1, 0.7), 0.1)
        if kind == 0:  # hills
            outline = noise.crop(rng, "fbm", (1, w), rng.uniform(0.8, 3))[0]
            ridge = line - h * rng.uniform(0.05, 0.45) * outline
            draw.polygon([(0, h), *enumerate(ridge.tolist()), (w, h)], fill=tone)
        elif kind == 1:  # buildings
            x = -rng.uniform(0, 0.1) * w
            while x < w:
                wide, tall = rng.uniform(0.05, 0.3) * w, rng.uniform(0.05, 0.7) * h
                draw.rectangle((x, line - tall, x + wide, line), fill=_shade(tone, rng.uniform(0.6, 1.5)))
                for y in np.arange(line - tall + 3, line - 3, rng.uniform(5, 12)):
                    draw.line((x + 2, y, x + wide - 3, y), fill=_shade(tone, 0.5), width=2)
                x += wide * rng.uniform(0.8, 1.6)
        else:  # trees
            green = _shade((70, 110, 50), rng.uniform(0.4, 1.3))
            for _ in range(int(rng.integers(3, 14))):
                x, r = rng.uniform(0, w), rng.uniform(0.04, 0.2) * h
                y = line - r * rng.uniform(0.3, 1.5)
                draw.rectangle((x - r * 0.1, y, x + r * 0.1, line), fill=(60, 45, 35))
                draw.ellipse((x - r, y - r, x + r, y + r), fill=_shade(green, rng.uniform(0.7, 1.3)))
    depth = h - int(line)
    if depth > 2:
        ground = _map(
            noise.crop(rng, _pick(rng, ["rough", "fbm", "billow", "spots"]), (depth, w), 1.5), _ground(rng)
        )
        squeeze = ground.transform((w, depth), Image.Transform.QUAD,
                                   (0.4 * w, 0, 0, depth, w, depth, 0.6 * w, 0), Image.Resampling.BILINEAR)  # fmt: skip
        image.paste(squeeze, (0, int(line)))
    return image


def _ground(rng: np.random.Generator) -> NDArray[np.uint8]:
    base = [(90, 130, 50), (190, 170, 130), (110, 110, 115), (60, 100, 140), (235, 238, 245), (110, 85, 60)]
    tone = np.array(base[int(rng.integers(len(base)))]) * rng.uniform(0.6, 1.1)
    return np.clip(tone * np.linspace(rng.uniform(0.4, 0.9), 1.2, 256)[:, None], 0, 255).astype(np.uint8)


def _crowd(rng: np.random.Generator, size: Size) -> Image.Image:
    """Rows of blob people: heads with hair, shoulders, never a face."""
    w, h = size
    image = _PAINTERS[_pick(rng, ["gradient", "room", "outdoor", "studio"])][0](rng, size)
    draw = ImageDraw.Draw(image)
    for row in range(int(rng.integers(1, 4))):
        radius = h * rng.uniform(0.04, 0.16) * (1 + 0.3 * row)
        y = h * rng.uniform(0.1, 0.9)
        x = rng.uniform(-2, 1) * radius
        while x < w:
            top, skin, hair = (
                y + rng.normal(0, 0.5) * radius,
                skin_colour(rng),
                _shade(_colour(rng, (0.02, 0.7), 0), 0.8),
            )
            cloth = _colour(rng, vivid=0.35)
            draw.rounded_rectangle(
                (x - 1.9 * radius, top + 1.2 * radius, x + 1.9 * radius, h + 9 * radius), radius, fill=cloth
            )
            draw.rectangle(
                (x - 0.4 * radius, top, x + 0.4 * radius, top + 1.4 * radius), fill=_shade(skin, 0.8)
            )
            draw.ellipse(
                (x - 0.85 * radius, top - 1.2 * radius, x + 0.85 * radius, top + 1.0 * radius), fill=hair
            )
            shift = rng.uniform(-0.2, 0.2) * radius
            if rng.random() < 0.8:
                draw.ellipse(
                    (
                        x - 0.7 * radius + shift,
                        top - 0.75 * radius,
                        x + 0.7 * radius + shift,
                        top + 1.1 * radius,
                    ),
                    fill=skin,
                )
            x += radius * rng.uniform(1.5, 6)
    return image


@lru_cache(maxsize=8)
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)


def _writing(rng: np.random.Generator, size: Size) -> Image.Image:
    """Signs, logo walls and pages of letters."""
    w, h = size
    image = _PAINTERS[_pick(rng, ["studio", "gradient", "pattern", "bricks"])][0](rng, size)
    letters = np.array(list("ABCDEFGHKLMNOPRSTUVWXYZabcdeghiknorstuvw0123456789  &."))
    vivid = rng.random()
    for _ in range(int(rng.integers(1, 5))):
        pixels = max(4, int(max(size) * _pick(rng, [0.06, 0.1, 0.16, 0.3])))
        text = "\n".join(
            "".join(rng.choice(letters, rng.integers(3, 12))) for _ in range(int(rng.integers(1, 4)))
        )
        patch = Image.new("L", (w, min(h, pixels * 4)))
        ImageDraw.Draw(patch).multiline_text((2, 2), text, fill=255, font=_font(pixels), spacing=2)
        if rng.random() < 0.4:
            patch = patch.rotate(float(rng.uniform(-90, 90)), Image.Resampling.BILINEAR, expand=True)
        image.paste(
            _colour(rng, vivid=vivid),
            (int(rng.uniform(-0.3, 0.7) * w), int(rng.uniform(-0.1, 0.9) * h)),
            patch,
        )
    return image


def _strokes(rng: np.random.Generator, size: Size) -> Image.Image:
    """Graffiti, cables, branches: thick random walks."""
    w, h = size
    image = _PAINTERS[_pick(rng, ["studio", "texture", "bricks", "gradient"])][0](rng, size)
    draw = ImageDraw.Draw(image)
    vivid = rng.random()
    for _ in range(int(rng.integers(3, 20))):
        steps = rng.normal(0, 1, (8, 2)).cumsum(0) * max(size) * rng.uniform(0.03, 0.2) + rng.random(2) * (
            w,
            h,
        )
        wide = int(max(1, max(size) * np.exp(rng.uniform(np.log(0.005), np.log(0.08)))))
        draw.line(
            [tuple(p) for p in steps.tolist()], fill=_colour(rng, vivid=vivid), width=wide, joint="curve"
        )
    return image


def _curtain(rng: np.random.Generator, size: Size) -> Image.Image:
    """Cloth in folds."""
    u = _along(rng, size, rng.normal(0, 0.15)) * rng.uniform(4, 25)
    bend = noise.crop(rng, "fbm", (size[1], size[0]), 3) * rng.uniform(1, 6)
    field = 0.5 + 0.45 * np.sin(u + bend)
    base = np.array(_colour(rng, (0.3, 1), 0.3))
    ramp = base * np.linspace(rng.uniform(0.1, 0.7), 1.05, 256)[:, None]
    return _map(field, np.minimum(ramp, 255).astype(np.uint8))


def _bricks(rng: np.random.Generator, size: Size) -> Image.Image:
    """Bricks, tiles or planks with joints, each of its own tone."""
    w, h = size
    joint = _colour(rng)
    image = Image.new("RGB", size, joint)
    draw = ImageDraw.Draw(image)
    base = _colour(rng, (0.25, 0.95), 0.2)
    tall = max(4, h * rng.uniform(0.05, 0.22))
    wide = tall * _pick(rng, [1, 2.2, 6])
    gap, spread, shift = rng.uniform(0.5, 2.5), rng.uniform(0.02, 0.3), _pick(rng, [0, 0.5])
    for j in range(int(h / tall) + 1):
        for i in range(-1, int(w / wide) + 1):
            x, y = (i + (j % 2) * shift) * wide, j * tall
            draw.rectangle((x, y, x + wide - gap, y + tall - gap), fill=_shade(base, rng.normal(1, spread)))
    return image


def _pictures(rng: np.random.Generator, size: Size) -> Image.Image:
    """A wall with framed pictures, posters or screens that are small backgrounds themselves."""
    w, h = size
    image = _PAINTERS[_pick(rng, ["studio", "bricks", "pattern", "texture", "gradient"])][0](rng, size)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        fw, fh = max(8, int(rng.uniform(0.12, 0.5) * w)), max(8, int(rng.uniform(0.12, 0.5) * h))
        x, y = int(rng.uniform(-0.1, 0.9) * w), int(rng.uniform(-0.1, 0.8) * h)
        edge = int(rng.integers(1, 7))
        draw.rectangle((x - edge, y - edge, x + fw + edge, y + fh + edge), fill=_colour(rng))
        inner = _pick(rng, ["texture", "leaves", "outdoor", "crowd", "strokes", "gradient", "skin"])
        image.paste(_PAINTERS[inner][0](rng, (fw, fh)), (x, y))
    return image


def _skin(rng: np.random.Generator, size: Size) -> Image.Image:
    """Skin-coloured shapes that are no faces: limbs, bald blobs, smooth skin-toned surfaces."""
    w, h = size
    image = _PAINTERS[_pick(rng, ["studio", "texture", "room", "leaves", "foliage"])][0](rng, size)
    for _ in range(int(rng.integers(1, 5))):
        tone = np.array(skin_colour(rng))
        mask = Image.new("L", size)
        draw = ImageDraw.Draw(mask)
        (x, y), r = rng.random(2) * (w, h), max(size) * rng.uniform(0.04, 0.25)
        if rng.random() < 0.5:
            joints = [(x, y)]
            for _ in range(int(rng.integers(1, 4))):
                x, y = x + rng.normal(0, 0.3) * w, y + rng.normal(0, 0.3) * h
                joints.append((x, y))
            draw.line(joints, fill=255, width=int(r), joint="curve")
            for jx, jy in joints:
                draw.ellipse((jx - r / 2, jy - r / 2, jx + r / 2, jy + r / 2), fill=255)
        else:
            draw.ellipse((x - r, y - r * rng.uniform(0.7, 1.5), x + r, y + r), fill=255)
        field = np.clip(0.5 + 0.5 * _along(rng, size), 0, 1)
        ramp = np.clip(tone * np.linspace(rng.uniform(0.3, 0.9), 1.1, 256)[:, None], 0, 255).astype(np.uint8)
        image.paste(_map(field, ramp), (0, 0), mask)
    return image


def _stage(rng: np.random.Generator, size: Size) -> Image.Image:
    """Dark, with beams and haze."""
    w, h = size
    image = Image.new("RGB", size, _colour(rng, (0, 0.12)))
    for _ in range(int(rng.integers(1, 5))):
        mask = Image.new("L", size)
        x, a, spread = rng.uniform(0, w), rng.uniform(-0.8, 0.8), rng.uniform(0.05, 0.4)
        ImageDraw.Draw(mask).polygon(
            [(x, -5), (x + (a - spread) * h, h + 5), (x + (a + spread) * h, h + 5)],
            fill=int(rng.uniform(30, 160)),
        )
        mask = mask.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 6)))
        image.paste(_colour(rng, (0.6, 1), 0.7), (0, 0), mask)
    return image


_PAINTERS: dict[str, tuple[Callable[[np.random.Generator, Size], Image.Image], float]] = {
    "gradient": (_gradient, 1.0), "studio": (_studio, 1.4), "texture": (_texture, 1.6), "pattern": (_pattern, 1.0),
    "leaves": (_leaves, 1.4), "foliage": (_foliage, 1.3), "bokeh": (_bokeh, 1.0), "room": (_room, 2.0),
    "facade": (_facade, 0.8), "shelf": (_shelf, 0.8), "outdoor": (_outdoor, 2.0), "crowd": (_crowd, 1.3),
    "writing": (_writing, 0.9), "strokes": (_strokes, 0.8), "curtain": (_curtain, 0.6), "bricks": (_bricks, 0.7),
    "pictures": (_pictures, 1.0), "skin": (_skin, 1.0), "stage": (_stage, 0.5),
}  # fmt: skip
KINDS = tuple(_PAINTERS)
_CUMULATIVE = np.cumsum([weight for _, weight in _PAINTERS.values()])


def _draw_kind(rng: np.random.Generator) -> str:
    return KINDS[int(np.searchsorted(_CUMULATIVE, rng.random() * _CUMULATIVE[-1], side="right"))]


def _finish(rng: np.random.Generator, image: Image.Image, size: Size, blur: float) -> NDArray[np.float32]:
    """Defocus, resize, uneven light, colour cast. ``blur`` is a sigma in pixels of ``image``."""
    if blur > 0.4:
        # Two box passes are nearly Gaussian and half the price of Pillow's three.
        image = image.filter(ImageFilter.BoxBlur(blur)).filter(ImageFilter.BoxBlur(blur * 0.75))
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC if blur > 1 else Image.Resampling.BILINEAR)
    gain = np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.2)) / 255
    w, h = size
    # Pixels side by side in one long row: NumPy is several times slower on an innermost axis of three.
    out = np.asarray(image).reshape(h, 3 * w) * np.tile(gain.astype(np.float32), w)
    if rng.random() < 0.5:
        x, y = _grid(size)
        angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
        out *= (x * np.float32(np.cos(angle) * slope) + 1).repeat(3, 1) + y * np.float32(
            np.sin(angle) * slope
        )
    if rng.random() < 0.35:  # stains and cast shadows, or a surface's grain
        kind, zoom = ("fbm", 3.0) if rng.random() < 0.5 else (_pick(rng, ["rough", "strands", "billow"]), 1.0)
        depth = rng.uniform(0.1, 0.7)
        out *= 1 + depth * (noise.crop(rng, kind, (h, w), zoom) - 0.5).repeat(3, 1)
    return np.clip(out, 0, 1, out=out).reshape(h, w, 3)


def sample_background(
    rng: np.random.Generator,
    size: tuple[int, int] = (192, 192),
    kind: str | None = None,
    blur: float | None = None,
) -> NDArray[np.float32]:
    """Paint one random background.

    Args:
        rng: the only source of randomness; the same state gives the same picture.
        size: (height, width).
        kind: one of ``KINDS``; None draws one, and in one picture of five shows a second kind through a gap.
        blur: defocus sigma as a share of the longer side; None draws it: sharp for a third, else log-uniform 0.2–8 %.

    Returns:
        (height, width, 3) sRGB in [0, 1].

    Raises:
        InputError: ``size`` is not two positive numbers.
        UnknownNameError: ``kind`` is not in ``KINDS``.
    """
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"size must be (height, width) of at least 1, got {size!r}.")
    if kind is not None and kind not in _PAINTERS:
        raise unknown_name("background", kind, KINDS)
    full = (int(size[1]), int(size[0]))
    name = kind or _draw_kind(rng)
    if blur is None:
        blur = 0.0 if rng.random() < 0.35 else float(np.exp(rng.uniform(np.log(0.002), np.log(0.08))))
    sigma = blur * max(full)
    # What will be defocused need not be painted sharp.
    step = 4 if sigma > 6 else 2 if sigma > 1.6 else 1
    canvas = (max(8, full[0] // step), max(8, full[1] // step))
    image = _PAINTERS[name][0](rng, canvas)
    if kind is None and rng.random() < 0.2:
        other = _PAINTERS[_draw_kind(rng)][0](rng, canvas)
        if rng.random() < 0.5:
            mask = _along(rng, canvas) > rng.uniform(-0.6, 0.6)
        else:
            mask = noise.crop(rng, "fbm", canvas[::-1], 3) > rng.uniform(0.3, 0.8)
        image.paste(other, (0, 0), Image.fromarray(mask))
    return _finish(rng, image, full, sigma / step)
