"""What every occluder is drawn on and returns: the canvas around a face box, and layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facezoo.synth.background import Colour

Array = NDArray[np.floating]
Box = tuple[float, float, float, float]
BYTE = np.float32(1 / 255)  # typed: bytes times a Python float would be float64


class Canvas:
    """What a painter needs to know: the picture's size, the face box, the skin and the light's direction."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], box: Box, skin: Colour) -> None:
        self.rng, self.skin, self.box = rng, skin, box
        self.height, self.width = int(size[0]), int(size[1])
        self.centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        self.face = float(np.sqrt(max(box[2] - box[0], 1) * max(box[3] - box[1], 1)))
        light = np.array([rng.normal(0, 0.6), rng.normal(-0.4, 0.5), 1.0])
        self.light = (light / np.linalg.norm(light)).astype(np.float32)

    def on_face(self, u: float, v: float, spread: float = 0.1) -> NDArray[np.float64]:
        """Pixel near the box coordinates (u right, v down, 0–1)."""
        x0, y0, x1, y1 = self.box
        jitter = self.rng.normal(0, spread, 2) * self.face
        return np.array([x0 + u * (x1 - x0), y0 + v * (y1 - y0)]) + jitter

    def colour(self, low: float = 0.05, high: float = 1.0) -> Colour:
        """Draw a colour about a grey between ``low`` and ``high``."""
        grey, spread = self.rng.uniform(low, high), self.rng.random() ** 2
        r, g, b = np.clip((grey + (self.rng.random(3) - 0.5) * spread) * 255, 0, 255)
        return int(r), int(g), int(b)


Layer = tuple[Array, Array]
"""(alpha (H, W), colour (H, W, 3))."""


def over(front: Layer, back: Layer) -> Layer:
    """Composite two layers."""
    alpha = front[0] + back[0] * (1 - front[0])
    share = (front[0] / np.maximum(alpha, np.float32(1e-6)))[..., None]
    return alpha, back[1] + (front[1] - back[1]) * share
