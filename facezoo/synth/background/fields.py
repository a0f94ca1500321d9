"""Pictures from fields: coordinates of a canvas, and colouring by a ramp."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]
"""(width, height), Pillow's order; only the public function speaks (height, width)."""


def through_ramp(field: NDArray[np.floating], ramp: NDArray[np.uint8]) -> Image.Image:
    """Colour a field in [0, 1] through a ramp."""
    # Pillow expands a palette five times faster than NumPy indexes rows of three bytes.
    image = Image.fromarray((field * 255).astype(np.uint8)).convert("P")
    image.putpalette(ramp.tobytes())
    return image.convert("RGB")


@lru_cache(maxsize=16)
def centred_grid(size: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return centred coordinates x, y (1, w), (h, 1) with the longer side in [-1, 1]."""
    w, h = size
    half = max(size) / 2
    x = (np.arange(w, dtype=np.float32) + 0.5 - w / 2) / np.float32(half)
    y = (np.arange(h, dtype=np.float32) + 0.5 - h / 2) / np.float32(half)
    return x[None], y[:, None]


def random_axis(rng: np.random.Generator, size: Size, angle: float | None = None) -> NDArray[np.float32]:
    """Return the coordinate (h, w) along a random direction, in [-1.42, 1.42]."""
    x, y = centred_grid(size)
    a = rng.uniform(0, 2 * np.pi) if angle is None else angle
    return x * np.float32(np.cos(a)) + y * np.float32(np.sin(a))
