"""Small RGBA pictures that are shaded, printed on, turned and put into place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facezoo.synth.background import Colour, sample_background
from facezoo.synth.occluders.canvas import BYTE, Canvas, Layer


def clear_sprite(
    rng: np.random.Generator, size: tuple[int, int], tone: Colour
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Make a clear sprite whose hidden colour is the object's own, so that soft edges do not darken."""
    sprite = Image.new("RGBA", size, (*tone, 0))
    return sprite, ImageDraw.Draw(sprite)


def round_sprite(canvas: Canvas, sprite: Image.Image, amount: float) -> Image.Image:
    """Shade a sprite from left to right as an upright cylinder."""
    x = np.linspace(-1, 1, sprite.width)
    lx = float(canvas.light[0])
    shade = 1 - amount + amount * np.maximum(np.sqrt(1 - x * x * 0.96) * 0.9 + x * lx * 0.8, 0.1)
    pixels = np.asarray(sprite).astype(np.float32)
    pixels[..., :3] *= shade[None, :, None].astype(np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def decorate_sprite(rng: np.random.Generator, sprite: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Print a small random picture on a sprite."""
    x0, y0, x1, y1 = box
    if x1 - x0 > 3 and y1 - y0 > 3:
        print_ = (sample_background(rng, (y1 - y0, x1 - x0), blur=0.0) * 255).astype(np.uint8)
        sprite.paste(Image.fromarray(print_), (x0, y0))


def place_sprite(canvas: Canvas, sprite: Image.Image, middle: NDArray, angle: float, scale: float) -> Layer:
    """Turn an RGBA sprite by ``angle`` (radians, clockwise), scale it and put its centre at ``middle``."""
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    x, y = middle
    grid = (c, s, sprite.width / 2 - c * x - s * y, -s, c, sprite.height / 2 + s * x - c * y)
    placed = sprite.transform(
        (canvas.width, canvas.height), Image.Transform.AFFINE, grid, Image.Resampling.BILINEAR
    )
    pixels = np.asarray(placed)
    # Outside the sprite Pillow fills in black and clear; alpha keeps it out of sight.
    return pixels[..., 3] * BYTE, pixels[..., :3] * BYTE
