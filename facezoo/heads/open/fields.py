"""Smooth fields over the head's vertices: the brushes with which identity and expression are drawn."""

from __future__ import annotations

import numpy as np

from .skin import MOUTH_HALF_WIDTH, lip_line_y, open_mouth
from .template import Template


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, C1 in between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


class MouthFrame:
    """Coordinates and masks of the template's vertices that every field needs.

    ``sign`` is a soft sign of x (no crease on the midline), ``open_y`` the height with the lips apart, ``upper`` and
    ``lower`` blend from 1 on one lip to 0 on the other, ``left``/``right`` split bilateral fields.
    """

    def __init__(self, t: Template) -> None:
        self.t = t
        self.v = t.vertices
        x, y = self.v[:, 0], self.v[:, 1]
        self.sign = np.tanh(x / 5.0)
        near = (np.abs(x) < 60) & (y < -30) & (y > -110) & (self.v[:, 2] > -40)
        side = np.where(near, t.lip_side, 0.0)
        self.open_y = np.where(near, open_mouth(x, y, side), y)
        line = lip_line_y(np.clip(np.abs(x), 0, MOUTH_HALF_WIDTH))
        self.line_distance = np.abs(y - line)
        u = np.clip((self.open_y - line) / 3.0, -1, 1)
        inside = (t.part == "mouth") & (t.ring > 0)
        u = np.where(inside, t.lip_side * np.sqrt(np.clip(1 - (x / 25.6) ** 2, 0, 1)), u)
        self.upper = 0.5 + 0.5 * np.sin(np.pi / 2 * u)
        self.lower = 1 - self.upper
        self.middle = np.sqrt(np.clip(1 - (x / 29.0) ** 2, 0, 1))
        self.left = 0.5 + 0.5 * np.tanh(x / 7.0)
        self.right = 1 - self.left
        # Expressions leave the skull still: nothing moves on the scalp, the ears and behind.
        v = self.v
        face = smoothstep((82 - y) / 26) * smoothstep((v[:, 2] + 64) / 34)
        face[np.char.startswith(t.part.astype(str), "ear")] = 0
        self.face = face

    def bump(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        """Gaussian weight (V,), mirrored in x."""
        d = (np.abs(self.v[:, 0]) - centre[0]) / radii[0]
        if centre[0] == 0:
            d = self.v[:, 0] / radii[0]
        e = (self.v[:, 1:] - centre[1:]) / radii[1:]
        return np.exp(-0.5 * (d**2 + (e**2).sum(1)))

    def plateau(self, centre: tuple[float, float, float], flat: float, soft: float) -> np.ndarray:
        """Weight 1 within ``flat`` mm of a (mirrored) centre, Gaussian fall-off of ``soft`` mm beyond."""
        p = self.v - np.array(centre)
        p[:, 0] = np.abs(self.v[:, 0]) - centre[0]
        d = np.clip(np.linalg.norm(p, axis=1) - flat, 0, None)
        return np.exp(-0.5 * (d / soft) ** 2)

    def vector(self, weight: np.ndarray, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> np.ndarray:
        """Displacement (V, 3): dx is away from the midline on both sides."""
        return np.stack([weight * dx * self.sign, weight * dy, weight * dz], -1)
