"""The sRGB transfer curve (IEC 61966-2-1).

facezoo keeps colours as sRGB; glTF and USD want vertex colours linear.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def srgb_to_linear(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo the sRGB curve of values in [0, 1]."""
    low = srgb <= 0.04045
    return np.where(low, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the sRGB curve; the result is clipped to [0, 1]."""
    low = linear <= 0.0031308
    curve = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.clip(np.where(low, linear * 12.92, curve), 0, 1).astype(np.float32)
