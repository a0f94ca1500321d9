"""One person's relief: what the skin always shows, and what an expression adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facezoo.synth.relief.canvas import SIDE, Canvas, canvas
from facezoo.synth.relief.drive import GROUPS, drives
from facezoo.synth.relief.folds import Folds
from facezoo.synth.skin_paint.arrays import Array, as_float32
from facezoo.synth.skin_paint.traits import SkinTraits

TRUTH_SIDE = 128
"""Texels along a side of the stored displacement."""
_DEEPEST = 0.0014  # metres; folds that cross do not add up beyond it
# How much of a group stays when the face rests, of an old person: the lines that gravity deepens stay most.
_STAYS = {
    "forehead": 0.7, "forehead_middle": 0.7, "glabella": 0.6, "crows_feet": 0.5, "under_eye": 0.7, "nasolabial": 0.8,
    "smile": 0.35, "marionette": 0.7, "purse": 0.4, "chin": 0.25, "procerus": 0.4, "bunny": 0.12,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Relief:
    """A person's skin as displacement along the coarse normal, metres, outwards positive.

    Maps are (SIDE, SIDE) in the head's texture layout: row 0 at v = 1, column 0 at u = 0 (the subject's right).

    Attributes:
        static: (SIDE, SIDE) the neutral face's: pores, creases that stay, moles, scars.
        folds: (len(GROUPS), SIDE, SIDE) what every group adds when it is fully folded.
        mask: (SIDE, SIDE) 0..1 where skin carries relief.
    """

    static: Array
    folds: Array
    mask: Array

    def displacement(self, expression: NDArray, names: Sequence[str]) -> Array:
        """Return the relief of an expression.

        Args:
            expression: (n,) the head's expression coefficients.
            names: their names.

        Returns:
            (SIDE, SIDE) metres: ``static + sum_k drive_k(expression) folds_k``.
        """
        drive = drives(expression, names)
        used = np.flatnonzero(drive > 1e-3)
        return self.static + np.tensordot(drive[used], self.folds[used], 1)


def sample_relief(seed: int, traits: SkinTraits) -> Relief:
    """Draw a person's relief; the same seed and traits give the same bytes.

    Args:
        seed: the person's number.
        traits: who it is; age decides how deep and how many lines there are.
    """
    rng = np.random.default_rng([seed, 91])
    sheet = canvas()
    person = Folds(rng, sheet, traits.age)
    stays = float(np.clip((traits.age - 22) / 50, 0, 1.1)) * float(np.exp(rng.normal(0, 0.25)))
    static: Array = np.zeros((SIDE, SIDE), np.float32)
    folds = np.empty((len(GROUPS), SIDE, SIDE), np.float32)
    for k, group in enumerate(GROUPS):
        fold = _soft(person.maps[group])
        share = min(stays * _STAYS[group.removesuffix("Left").removesuffix("Right")], 0.75)
        if group.startswith("nasolabial"):
            share = max(share, 0.12 if traits.age > 12 else 0.04)
        static += share * fold
        folds[k] = (1 - share) * fold * sheet.mask
    _rest(rng, sheet, person, static, traits)
    static = _soft(static) + _grain(rng, sheet, traits)
    return Relief(static * sheet.mask, folds, sheet.mask)


def stored(displacement: Array) -> NDArray[np.float16]:
    """Reduce a map (SIDE, SIDE) in metres to the truth that shards carry: (TRUTH_SIDE, TRUTH_SIDE) in millimetres."""
    step = SIDE // TRUTH_SIDE
    blocks = displacement.reshape(TRUTH_SIDE, step, TRUTH_SIDE, step).mean((1, 3))
    return (blocks * 1000).astype(np.float16)


def _soft(field: Array) -> Array:
    """Keep depths within the deepest fold."""
    return as_float32(_DEEPEST * np.tanh(field / np.float32(_DEEPEST)))


def _rest(rng: np.random.Generator, sheet: Canvas, person: Folds, out: Array, traits: SkinTraits) -> None:
    """Add what no muscle drives: bags under the eyes, rings around the neck, moles, scars."""
    old = min(person.old, 1.1)
    bags = float(np.clip(rng.normal(0.15 + 0.75 * old, 0.25), 0, 1.2))
    for side in (1, -1):
        x = np.linspace(-0.95, 0.75, 6)
        edge = np.stack(
            [0.5 + side * (0.143 + 0.052 * x), 0.603 - 0.017 * (1 - 0.6 * x**2) + rng.normal(0, 0.002)], 1
        )
        # The bag lies above its crease; its bank is broad.
        sheet.carve(
            out, edge, 0.0005 * bags, 0.0018, bulge=(0.9, 0.0) if side > 0 else (0.0, 0.9), ends=(0.3, 0.45)
        )
    neck = np.asarray(sheet.layout.neck_line, float)
    for _ in range(int(rng.integers(0, 3)) + (rng.random() < old)):
        ring = neck + [0, rng.normal(-0.01, 0.022)] + rng.normal(0, 0.002, neck.shape)
        sheet.carve(
            out, ring, (0.00015 + 0.0004 * old) * float(np.exp(rng.normal(0, 0.3))), 0.0015, ends=(0.2, 0.2)
        )
    skin = np.flatnonzero(sheet.mask.ravel() > 0.95)

    def somewhere() -> NDArray[np.float64]:
        row, column = divmod(int(skin[rng.integers(len(skin))]), SIDE)
        return np.array([(column + rng.random()) / SIDE, 1 - (row + rng.random()) / SIDE])

    for _ in range(rng.poisson(0.8 + 1.2 * old)):
        sheet.dome(out, somewhere(), rng.uniform(0.0002, 0.0006), rng.uniform(0.0009, 0.0022))
    for _ in range(rng.poisson(2.5 * traits.blemishes)):
        sheet.dome(out, somewhere(), rng.uniform(0.0001, 0.0003), rng.uniform(0.0008, 0.0015))
    if rng.random() < 0.08:
        start, direction = somewhere(), rng.normal(0, 1, 2)
        t = np.linspace(0, rng.uniform(0.03, 0.09), 4)[:, None]
        line = start + t * direction / np.linalg.norm(direction) + rng.normal(0, 0.002, (4, 2))
        sheet.carve(out, line, rng.uniform(-0.0003, 0.0004), rng.uniform(0.0008, 0.0014))


def _grain(rng: np.random.Generator, sheet: Canvas, traits: SkinTraits) -> Array:
    """Pores and the fine crossing lines of the skin (SIDE, SIDE)."""
    old = float(np.clip((traits.age - 25) / 50, 0, 1))

    fine = 0.00002 * float(np.exp(rng.normal(0, 0.3)))
    pores = -sheet.noise(rng, "spots") * fine * 2 * (0.6 + 0.8 * traits.masculine)
    lines = (sheet.noise(rng, "ridged") - 0.5) * (fine + 0.00005 * old)
    return as_float32(pores + lines + (sheet.noise(rng, "rough") - 0.5) * 2 * fine)
