"""Random colours of the world's surfaces and of skin, and ramps through them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
T = TypeVar("T")


def random_colour(
    rng: np.random.Generator, value: tuple[float, float] = (0.05, 1.0), vivid: float = 0.2
) -> Colour:
    """Draw a colour: mostly muted like the real world's surfaces, saturated with probability ``vivid``."""
    saturation = rng.uniform(0.5, 1) if rng.random() < vivid else rng.beta(1.1, 4)
    # Warm hues dominate indoors and out; the rest is uniform.
    hue = rng.normal(0.09, 0.05) % 1 if rng.random() < 0.4 else rng.random()
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, rng.uniform(*value))
    return int(r * 255), int(g * 255), int(b * 255)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Choose one, ten times faster than ``rng.choice``."""
    return options[int(rng.random() * len(options))]


def shaded(colour: Colour, factor: float) -> Colour:
    """Darken or brighten a colour."""
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


def random_ramp(rng: np.random.Generator, stops: int = 0, vivid: float = 0.2) -> NDArray[np.uint8]:
    """Draw a lookup table (256, 3) through random colours; few stops are close to each other more often than not."""
    stops = stops or int(rng.integers(2, 6))
    colours = np.array([random_colour(rng, vivid=vivid) for _ in range(stops)], np.float32)
    if rng.random() < 0.5:
        colours = colours[:1] + (colours - colours[:1]) * rng.uniform(0.1, 0.6)
    at = np.sort(rng.random(stops)) if rng.random() < 0.5 else np.linspace(0, 1, stops)
    grid = np.linspace(0, 1, 256)
    return np.stack([np.interp(grid, at, colours[:, c]) for c in range(3)], -1).astype(np.uint8)
