"""Painted skin: the human range, every feature where the layout says, determinism and independence of texture size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from facezoo.errors import FacezooError
from facezoo.synth import skin_paint as sp

# A test head: an ellipsoid of revolution on a neck. Millimetres (x to the subject's left, y above the eyes).
TOP, BOTTOM = 125.0, -165.0


def radius(y: np.ndarray) -> np.ndarray:
    skull = 85 * np.sqrt(np.clip(1 - ((y - 5) / 122) ** 2, 0.02, 1))
    return np.where(y < -60, np.maximum(skull, 58), skull)


def azimuth(u: np.ndarray) -> np.ndarray:
    x = 2 * np.asarray(u) - 1
    return np.pi * x * (0.45 + 0.55 * x * x)


def uv(points: list[tuple[float, float]] | np.ndarray) -> np.ndarray:
    p = np.asarray(points, float)
    grid = np.linspace(0, 1, 4001)
    turn = np.arcsin(np.clip(p[:, 0] / radius(p[:, 1]), -1, 1))
    return np.stack([np.interp(turn, azimuth(grid), grid), (p[:, 1] - BOTTOM) / (TOP - BOTTOM)], -1)


def ellipse(cx: float, cy: float, rx: float, ry: float, n: int = 28) -> np.ndarray:
    a = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([cx + rx * np.cos(a), cy + ry * np.sin(a)], -1)


@lru_cache(maxsize=2)
def make_layout(size: int = 256) -> sp.FaceLayout:
    centres = (np.arange(size) + 0.5) / size
    y = (BOTTOM + (TOP - BOTTOM) * (1 - centres))[:, None]
    turn = azimuth(centres)[None]
    position = np.stack([radius(y) * np.sin(turn), y + 0 * turn, radius(y) * np.cos(turn)], -1) / 1000
    brow = np.array([(11, 20), (20, 24), (30, 26), (40, 24), (50, 17)], float)
    flip = np.array([-1, 1.0])
    t = np.linspace(0, 1, 12)
    upper = np.concatenate(
        [np.stack([-25 + 50 * t, -66 + 8 * np.sin(np.pi * t)], -1), np.stack([25 - 50 * t, -66 + 0 * t], -1)]
    )
    lower = np.concatenate(
        [np.stack([-25 + 50 * t, -66 - 10 * np.sin(np.pi * t)], -1), np.stack([25 - 50 * t, -66 - 0 * t], -1)]
    )
    beard = np.array(
        [
            (-66, -20),
            (-45, -42),
            (-24, -50),
            (0, -52),
            (24, -50),
            (45, -42),
            (66, -20),
            (60, -80),
            (42, -112),
            (0, -125),
            (-42, -112),
            (-60, -80),
        ],
        float,
    )
    scalp = np.concatenate(
        [
            uv([(-62, -5), (-58, 40), (-48, 66), (0, 72), (48, 66), (58, 40), (62, -5)]),
            [[0.93, 0.4], [0.93, 0.999], [0.07, 0.999], [0.07, 0.4]],
        ]
    )
    return sp.FaceLayout(
        brow_left=uv(brow), brow_right=uv(brow * flip), lip_upper=uv(upper), lip_lower=uv(lower),
        eye_left=uv(ellipse(32, 0, 14, 5)), eye_right=uv(ellipse(-32, 0, 14, 5)), nose_tip=uv([(0, -38)])[0],
        nostrils=uv([(7, -44), (-7, -44)]), cheeks=uv([(42, -30), (-42, -30)]), ears=uv([(80, -10), (-80, -10)]),
        beard=uv(beard), moustache=uv([(-28, -64), (-20, -48), (0, -46), (20, -48), (28, -64), (0, -58)]), scalp=scalp,
        neck_line=uv([(-45, -120), (-20, -128), (0, -130), (20, -128), (45, -120)]),
        position=position, mask=np.ones((size, size), bool),
    )  # fmt: skip
