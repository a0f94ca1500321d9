"""Which expression folds which skin: blend-shape weights to how deep each group of wrinkles is, 0..1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_SIDES = ("Left", "Right")

# Group of wrinkles on one side -> shares of that side's blend shapes. The muscle pulls across its wrinkles.
_SIDED: dict[str, dict[str, float]] = {
    "forehead": {"browOuterUp": 0.9, "browInnerUp": 0.25},
    "glabella": {"browDown": 1.0, "noseSneer": 0.15},
    "crows_feet": {"eyeSquint": 0.7, "cheekSquint": 0.6, "mouthSmile": 0.4},
    "under_eye": {"eyeSquint": 0.7, "cheekSquint": 0.5, "mouthSmile": 0.2},
    "bunny": {"noseSneer": 1.0, "eyeSquint": 0.15},
    "nasolabial": {
        "mouthSmile": 0.75,
        "mouthUpperUp": 0.45,
        "noseSneer": 0.5,
        "cheekSquint": 0.2,
        "mouthStretch": 0.2,
    },
    "smile": {"mouthSmile": 0.8, "mouthDimple": 0.6, "mouthStretch": 0.4},
    "marionette": {"mouthFrown": 0.9, "mouthStretch": 0.2, "mouthLowerDown": 0.15},
}
_MIDDLE: dict[str, dict[str, float]] = {
    "forehead_middle": {"browInnerUp": 0.9, "browOuterUpLeft": 0.35, "browOuterUpRight": 0.35},
    "procerus": {"browDownLeft": 0.45, "browDownRight": 0.45, "noseSneerLeft": 0.35, "noseSneerRight": 0.35},
    "chin": {"mouthShrugLower": 0.9, "mouthPressLeft": 0.3, "mouthPressRight": 0.3, "mouthFrownLeft": 0.2, "mouthFrownRight": 0.2},
    "purse": {"mouthPucker": 0.9, "mouthFunnel": 0.4, "mouthRollUpper": 0.3, "mouthRollLower": 0.3},
}  # fmt: skip

GROUPS: tuple[str, ...] = (*(name + side for name in _SIDED for side in _SIDES), *_MIDDLE)
"""Groups of wrinkles that move by themselves."""


def shares(group: str) -> Mapping[str, float]:
    """Return the blend shapes that fold a group and how much each does."""
    for side in _SIDES:
        name = group.removesuffix(side)
        if name != group:
            return {shape if shape == "browInnerUp" else shape + side: w for shape, w in _SIDED[name].items()}
    return _MIDDLE[group]


def drives(expression: NDArray, names: Sequence[str]) -> NDArray[np.float32]:
    """How deep every group of :data:`GROUPS` is folded.

    Args:
        expression: (n,) the head's expression coefficients.
        names: their names.

    Returns:
        (len(GROUPS),) in [0, 1): 0 for the neutral face, saturating, because a fold that is closed gets no deeper.
    """
    at = {name: k for k, name in enumerate(names)}
    weight = np.zeros((len(GROUPS), len(names)), np.float32)
    for row, group in enumerate(GROUPS):
        for shape, share in shares(group).items():
            weight[row, at[shape]] = share
    pull = weight @ np.maximum(np.asarray(expression, np.float32), 0)
    return np.tanh(pull * np.float32(1.25)).astype(np.float32)
