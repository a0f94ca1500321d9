"""Buildings inside and out: rooms, house fronts, shelves."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from facezoo.synth.background.colours import random_colour, shaded
from facezoo.synth.background.fields import Size


def _windows(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]
) -> None:
    """A bright window with glazing bars, or a door, or a dark screen, inside a box."""
    x0, y0, x1, y1 = box
    frame = random_colour(rng)
    bright = rng.random() < 0.7
    pane = random_colour(rng, (0.75, 1), 0.1) if bright else random_colour(rng, (0, 0.3))
    draw.rectangle(box, fill=pane, outline=frame, width=max(1, int((x1 - x0) * 0.06)))
    for i in range(1, int(rng.integers(1, 4))):
        x = x0 + (x1 - x0) * i / 2
        draw.line((x, y0, x, y1), fill=frame, width=max(1, int((x1 - x0) * 0.04)))
    for i in range(1, int(rng.integers(1, 4))):
        y = y0 + (y1 - y0) * i / 3
        draw.line((x0, y, x1, y), fill=frame, width=max(1, int((x1 - x0) * 0.04)))


def paint_room(rng: np.random.Generator, size: Size) -> Image.Image:
    """Walls in perspective, window or door, furniture-like boxes, a lamp."""
    w, h = size
    wall = random_colour(rng, (0.3, 1), 0.1)
    image = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(image)
    x0, x1 = np.sort(rng.uniform(-0.4, 1.4, 2)) * w
    floor, ceiling = rng.uniform(0.55, 1.15) * h, rng.uniform(-0.3, 0.3) * h
    slope = rng.uniform(0.2, 0.7)
    draw.polygon(
        [(x0, ceiling), (x0, floor), (-9, floor + (x0 + 9) * slope), (-9, ceiling - (x0 + 9) * slope)],
        fill=shaded(wall, rng.uniform(0.5, 1.2)),
    )
    draw.polygon(
        [
            (x1, ceiling),
            (x1, floor),
            (w + 9, floor + (w + 9 - x1) * slope),
            (w + 9, ceiling - (w + 9 - x1) * slope),
        ],
        fill=shaded(wall, rng.uniform(0.5, 1.2)),
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
        fill=random_colour(rng, (0.1, 0.8)),
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
        fill=shaded(wall, 1.2),
    )
    for _ in range(int(rng.integers(0, 4))):
        ww, wh = rng.uniform(0.1, 0.45) * w, rng.uniform(0.15, 0.6) * h
        x, y = rng.uniform(-0.1, 0.95) * w, rng.uniform(-0.1, 0.5) * h
        _windows(rng, draw, (x, y, x + ww, y + wh))
    for _ in range(int(rng.integers(0, 7))):
        bw, bh = rng.uniform(0.05, 0.5) * w, rng.uniform(0.05, 0.5) * h
        x, y = rng.uniform(-0.2, 1) * w, rng.uniform(0.35, 1) * h
        tone = random_colour(rng, (0.05, 0.8), 0.25)
        draw.rectangle((x, y, x + bw, y + bh), fill=tone)
        draw.rectangle((x, y, x + bw, y + bh * 0.12), fill=shaded(tone, 1.3))
    if rng.random() < 0.4:
        x, y, r = rng.uniform(0, w), rng.uniform(0, 0.5) * h, rng.uniform(0.02, 0.1) * w
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 246, 222))
    return image


def paint_facade(rng: np.random.Generator, size: Size) -> Image.Image:
    """A house front: a grid of windows, some lit."""
    w, h = size
    wall = random_colour(rng, (0.1, 0.9), 0.15)
    image = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(image)
    nx, ny = int(rng.integers(2, 10)), int(rng.integers(2, 10))
    mx, my = rng.uniform(0.08, 0.35, 2)
    glass, lit = random_colour(rng, (0.05, 0.6)), random_colour(rng, (0.7, 1), 0.3)
    share = rng.random() ** 2
    ox, oy = rng.random(2)
    for i in range(-1, nx + 1):
        for j in range(-1, ny + 1):
            x, y = (i + ox) * w / nx, (j + oy) * h / ny
            tone = lit if rng.random() < share else shaded(glass, rng.uniform(0.7, 1.3))
            draw.rectangle(
                (x + mx * w / nx, y + my * h / ny, x + (1 - mx) * w / nx, y + (1 - my) * h / ny), fill=tone
            )
    return image


def paint_shelf(rng: np.random.Generator, size: Size) -> Image.Image:
    """Rows of books, bottles or boxes on boards."""
    w, h = size
    image = Image.new("RGB", size, random_colour(rng, (0.02, 0.4)))
    draw = ImageDraw.Draw(image)
    rows = int(rng.integers(2, 6))
    board = random_colour(rng, (0.2, 0.9))
    mean = w * rng.uniform(0.025, 0.09)
    vivid = rng.uniform(0.1, 0.7)
    for row in range(rows):
        bottom, x = (row + 1) * h / rows, -rng.uniform(0, mean)
        while x < w:
            thick = mean * rng.uniform(0.4, 1.6)
            top = bottom - h / rows * rng.uniform(0.5, 0.92)
            if rng.random() < 0.88:
                tone = random_colour(rng, (0.1, 0.95), vivid)
                draw.rectangle((x, top, x + max(thick - 1, 1), bottom), fill=tone)
                draw.line((x + thick * 0.3, top, x + thick * 0.3, bottom), fill=shaded(tone, 1.3))
            x += thick
        draw.rectangle((0, bottom - h * 0.02, w, bottom), fill=board)
    return image
