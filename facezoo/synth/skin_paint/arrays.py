"""Float32 arrays of texels: their types, the cast and the smooth step every layer is masked by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
"""Computed in float32; the alias is loose because scalars of either width meet it."""
Indices = NDArray[np.int64]


def as_float32(value: NDArray) -> Array:
    """Cast to float32."""
    return np.asarray(value, np.float32)


def smooth_step(value: Array, low: float, high: float) -> Array:
    """Smooth ramp from 0 at ``low`` to 1 at ``high`` (or down, when ``high`` is smaller)."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)
