"""What hangs on walls or is written over them: letters, graffiti, pictures."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facezoo.synth.background.colours import pick, random_colour
from facezoo.synth.background.fields import Size
from facezoo.synth.background.outdoors import paint_outdoor
from facezoo.synth.background.people import paint_crowd, paint_skin_shapes
from facezoo.synth.background.surfaces import (
    paint_bricks,
    paint_gradient,
    paint_leaves,
    paint_pattern,
    paint_studio,
    paint_texture,
)


@lru_cache(maxsize=8)
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)


def paint_writing(rng: np.random.Generator, size: Size) -> Image.Image:
    """Signs, logo walls and pages of letters."""
    w, h = size
    image = pick(rng, [paint_studio, paint_gradient, paint_pattern, paint_bricks])(rng, size)
    letters = np.array(list("ABCDEFGHKLMNOPRSTUVWXYZabcdeghiknorstuvw0123456789  &."))
    vivid = rng.random()
    for _ in range(int(rng.integers(1, 5))):
        pixels = max(4, int(max(size) * pick(rng, [0.06, 0.1, 0.16, 0.3])))
        text = "\n".join(
            "".join(rng.choice(letters, rng.integers(3, 12))) for _ in range(int(rng.integers(1, 4)))
        )
        patch = Image.new("L", (w, min(h, pixels * 4)))
        ImageDraw.Draw(patch).multiline_text((2, 2), text, fill=255, font=_font(pixels), spacing=2)
        if rng.random() < 0.4:
            patch = patch.rotate(float(rng.uniform(-90, 90)), Image.Resampling.BILINEAR, expand=True)
        image.paste(
            random_colour(rng, vivid=vivid),
            (int(rng.uniform(-0.3, 0.7) * w), int(rng.uniform(-0.1, 0.9) * h)),
            patch,
        )
    return image


def paint_strokes(rng: np.random.Generator, size: Size) -> Image.Image:
    """Graffiti, cables, branches: thick random walks."""
    w, h = size
    image = pick(rng, [paint_studio, paint_texture, paint_bricks, paint_gradient])(rng, size)
    draw = ImageDraw.Draw(image)
    vivid = rng.random()
    for _ in range(int(rng.integers(3, 20))):
        steps = rng.normal(0, 1, (8, 2)).cumsum(0) * max(size) * rng.uniform(0.03, 0.2) + rng.random(2) * (
            w,
            h,
        )
        wide = int(max(1, max(size) * np.exp(rng.uniform(np.log(0.005), np.log(0.08)))))
        draw.line(
            [tuple(p) for p in steps.tolist()],
            fill=random_colour(rng, vivid=vivid),
            width=wide,
            joint="curve",
        )
    return image


def paint_pictures(rng: np.random.Generator, size: Size) -> Image.Image:
    """A wall with framed pictures, posters or screens that are small backgrounds themselves."""
    w, h = size
    image = pick(rng, [paint_studio, paint_bricks, paint_pattern, paint_texture, paint_gradient])(rng, size)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        fw, fh = max(8, int(rng.uniform(0.12, 0.5) * w)), max(8, int(rng.uniform(0.12, 0.5) * h))
        x, y = int(rng.uniform(-0.1, 0.9) * w), int(rng.uniform(-0.1, 0.8) * h)
        edge = int(rng.integers(1, 7))
        draw.rectangle((x - edge, y - edge, x + fw + edge, y + fh + edge), fill=random_colour(rng))
        inner = pick(
            rng,
            [
                paint_texture,
                paint_leaves,
                paint_outdoor,
                paint_crowd,
                paint_strokes,
                paint_gradient,
                paint_skin_shapes,
            ],
        )
        image.paste(inner(rng, (fw, fh)), (x, y))
    return image
