"""Sharp pictures of things that false alarms are made of: coins, print, bricks, dials, faceless ovals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facezoo.synth.background import Colour, skin_colour

Rng = np.random.Generator


def sample_pattern(rng: Rng, side: int) -> Image.Image:
    """Draw one square RGB picture without a face.

    Args:
        rng: the only source of randomness.
        side: its side, pixels.
    """
    image = Image.new("RGB", (side, side), _colour(rng))
    painters: list[Callable[[Rng, ImageDraw.ImageDraw, int], None]] = [
        _coins, _print, _bricks, _dial, _ovals, _spots,
    ]  # fmt: skip
    painters[int(rng.integers(len(painters)))](rng, ImageDraw.Draw(image), side)
    if rng.random() < 0.5:
        grain = rng.normal(0, rng.uniform(2, 18), (side, side, 1))
        image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    return image.convert("L").convert("RGB") if rng.random() < 0.3 else image


def _colour(rng: Rng) -> Colour:
    """Any colour, greys and skin more often than chance."""
    kind = rng.random()
    if kind < 0.3:
        return skin_colour(rng)
    r, g, b = rng.integers(0, 256, 3).tolist() if kind < 0.65 else [int(rng.integers(0, 256))] * 3
    return (r, g, b)


def _shade(colour: Colour, by: float) -> Colour:
    r, g, b = (int(np.clip(c * by, 0, 255)) for c in colour)
    return (r, g, b)


def _coins(rng: Rng, draw: ImageDraw.ImageDraw, side: int) -> None:
    """Round things in loose rows, with a rim and some relief."""
    step = side / rng.uniform(1.2, 5)
    base = _colour(rng)
    for row in np.arange(0, side + step, step):
        for column in np.arange(0, side + step, step):
            x, y = rng.normal([column, row], 0.08 * step)
            r = step * rng.uniform(0.28, 0.5)
            metal = _shade(base, rng.uniform(0.6, 1.4))
            draw.ellipse((x - r, y - r, x + r, y + r), metal, _shade(metal, rng.uniform(0.4, 1.5)), 2)
            for _ in range(int(rng.integers(0, 9))):
                a = rng.normal([x, y], 0.35 * r)
                b = a + rng.normal(0, 0.4 * r, 2)
                width = max(1, int(r * rng.uniform(0.02, 0.2)))
                draw.line((*a, *b), _shade(metal, rng.uniform(0.5, 1.5)), width)


def _print(rng: Rng, draw: ImageDraw.ImageDraw, side: int) -> None:
    """Lines of letters."""
    letters = np.array(list("aeionrstlucdmphgbfyvkw AEMRSTO0123456789.,;:()&%"))
    height = side / rng.uniform(3, 18)
    font, ink = ImageFont.load_default(height), _colour(rng)
    for y in np.arange(-height / 2, side, height * rng.uniform(1.1, 1.6)):
        draw.text((rng.uniform(-height, height), y), "".join(rng.choice(letters, 40)), ink, font)


def _bricks(rng: Rng, draw: ImageDraw.ImageDraw, side: int) -> None:
    """Rows of rectangles, every other one shifted."""
    tall, base = side / rng.uniform(2, 12), _colour(rng)
    wide, gap = tall * rng.uniform(0.8, 3), tall * rng.uniform(0.02, 0.15)
    for row in range(int(side / tall) + 1):
        for column in range(-1, int(side / wide) + 1):
            x, y = (column + 0.5 * (row % 2)) * wide, row * tall
            draw.rectangle((x, y, x + wide - gap, y + tall - gap), _shade(base, rng.uniform(0.7, 1.3)))


def _dial(rng: Rng, draw: ImageDraw.ImageDraw, side: int) -> None:
    """Rings with ticks and hands, or a wheel with spokes."""
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0, side, 2)
        r = side * rng.uniform(0.1, 0.5)
        for ring in np.sort(rng.uniform(0.2, 1, int(rng.integers(1, 5))))[::-1]:
            box = (x - r * ring, y - r * ring, x + r * ring, y + r * ring)
            draw.ellipse(box, _colour(rng), _colour(rng), int(rng.integers(1, 5)))
        for angle in np.arange(int(rng.integers(0, 13))) / 12 * 2 * np.pi:
            c, s = np.cos(angle), np.sin(angle)
            near = rng.uniform(0, 0.9)
            draw.line((x + near * r * c, y + near * r * s, x + r * c, y + r * s), _colour(rng), 2)


def _ovals(rng: Rng, draw: ImageDraw.ImageDraw, side: int) -> None:
    """Skin-coloured ovals with nothing in them: hands, knees, the backs of heads."""
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.uniform(0, side, 2)
        w, h = side * rng.uniform(0.06, 0.4, 2)
        skin = skin_colour(rng)
        draw.ellipse((x - w, y - h, x + w, y + h), skin, _shade(skin, rng.uniform(0.5, 1.2)), 2)
        if rng.random() < 0.4:  # hair without a face
            draw.chord((x - w, y - h, x + w, y + h), 180, 360, _shade(_colour(rng), 0.5))


def _spots(rng: Rng, draw: ImageDraw.ImageDraw, side: int) -> None:
    """Dark and bright spots: two beside each other are not yet eyes."""
    for _ in range(int(rng.integers(3, 60))):
        x, y = rng.uniform(0, side, 2)
        w, h = side * rng.uniform(0.01, 0.12, 2)
        draw.ellipse((x - w, y - h, x + w, y + h), _colour(rng))
