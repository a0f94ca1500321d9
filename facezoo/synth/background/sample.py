"""Draw one background: which kind, how sharp, in what light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from facezoo.errors import InputError, unknown_name
from facezoo.synth import noise
from facezoo.synth.background.buildings import paint_facade, paint_room, paint_shelf
from facezoo.synth.background.colours import pick
from facezoo.synth.background.fields import Size, centred_grid, random_axis
from facezoo.synth.background.lights import paint_bokeh, paint_stage
from facezoo.synth.background.outdoors import paint_foliage, paint_outdoor
from facezoo.synth.background.people import paint_crowd, paint_skin_shapes
from facezoo.synth.background.surfaces import (
    paint_bricks,
    paint_curtain,
    paint_gradient,
    paint_leaves,
    paint_pattern,
    paint_studio,
    paint_texture,
)
from facezoo.synth.background.walls import paint_pictures, paint_strokes, paint_writing

_PAINTERS: dict[str, tuple[Callable[[np.random.Generator, Size], Image.Image], float]] = {
    "gradient": (paint_gradient, 1.0), "studio": (paint_studio, 1.4), "texture": (paint_texture, 1.6),
    "pattern": (paint_pattern, 1.0), "leaves": (paint_leaves, 1.4), "foliage": (paint_foliage, 1.3),
    "bokeh": (paint_bokeh, 1.0), "room": (paint_room, 2.0), "facade": (paint_facade, 0.8),
    "shelf": (paint_shelf, 0.8), "outdoor": (paint_outdoor, 2.0), "crowd": (paint_crowd, 1.3),
    "writing": (paint_writing, 0.9), "strokes": (paint_strokes, 0.8), "curtain": (paint_curtain, 0.6),
    "bricks": (paint_bricks, 0.7), "pictures": (paint_pictures, 1.0), "skin": (paint_skin_shapes, 1.0),
    "stage": (paint_stage, 0.5),
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
        x, y = centred_grid(size)
        angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
        out *= (x * np.float32(np.cos(angle) * slope) + 1).repeat(3, 1) + y * np.float32(
            np.sin(angle) * slope
        )
    if rng.random() < 0.35:  # stains and cast shadows, or a surface's grain
        kind, zoom = ("fbm", 3.0) if rng.random() < 0.5 else (pick(rng, ["rough", "strands", "billow"]), 1.0)
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
            mask = random_axis(rng, canvas) > rng.uniform(-0.6, 0.6)
        else:
            mask = noise.crop(rng, "fbm", canvas[::-1], 3) > rng.uniform(0.3, 0.8)
        image.paste(other, (0, 0), Image.fromarray(mask))
    return _finish(rng, image, full, sigma / step)
