"""Lights in the dark: bokeh and stage beams."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from facezoo.synth.background.colours import random_colour, shaded
from facezoo.synth.background.fields import Size
from facezoo.synth.background.surfaces import paint_gradient


def paint_bokeh(rng: np.random.Generator, size: Size) -> Image.Image:
    """Out-of-focus lights: additive discs on a dim ground."""
    dim = rng.uniform(0.1, 0.7)
    image = paint_gradient(rng, size).point([int(i * dim) for i in range(256)] * 3)
    radius = max(size) * rng.uniform(0.015, 0.09)
    for _ in range(3):  # three layers whose discs add up where they cross
        layer = Image.new("RGB", size)
        draw = ImageDraw.Draw(layer)
        warm = rng.random() < 0.6
        for _ in range(int(rng.integers(3, 18))):
            x, y = rng.random(2) * size
            r = radius * rng.uniform(0.6, 1.4)
            tone = shaded(
                (255, 200, 120) if warm and rng.random() < 0.7 else random_colour(rng, (0.6, 1), 0.6),
                rng.uniform(0.2, 0.9),
            )
            draw.ellipse((x - r, y - r, x + r, y + r), fill=tone, outline=shaded(tone, 1.25))
        image = ImageChops.add(image, layer)
    return image


def paint_stage(rng: np.random.Generator, size: Size) -> Image.Image:
    """Dark, with beams and haze."""
    w, h = size
    image = Image.new("RGB", size, random_colour(rng, (0, 0.12)))
    for _ in range(int(rng.integers(1, 5))):
        mask = Image.new("L", size)
        x, a, spread = rng.uniform(0, w), rng.uniform(-0.8, 0.8), rng.uniform(0.05, 0.4)
        ImageDraw.Draw(mask).polygon(
            [(x, -5), (x + (a - spread) * h, h + 5), (x + (a + spread) * h, h + 5)],
            fill=int(rng.uniform(30, 160)),
        )
        mask = mask.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 6)))
        image.paste(random_colour(rng, (0.6, 1), 0.7), (0, 0), mask)
    return image
