"""What moves in a file: weights of morph targets and the pose of the whole mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import InputError


@dataclass(frozen=True)
class Animation:
    """T keys, straight lines between them.

    Attributes:
        times: (T,) seconds, rising.
        weights: (T, M) of the morph targets in their order.
        rotations: (T, 4) unit quaternions x, y, z, w.
        translations: (T, 3) metres.
    """

    times: NDArray[np.float32]
    weights: NDArray[np.float32]
    rotations: NDArray[np.float32]
    translations: NDArray[np.float32]

    def check(self, targets: int) -> None:
        """Make sure that it fits a mesh with so many morph targets.

        Raises:
            InputError: sizes differ, or the times do not rise.
        """
        keys = len(self.times)
        wanted = {"weights": (keys, targets), "rotations": (keys, 4), "translations": (keys, 3)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"Animation.{name} must be {shape}, got {getattr(self, name).shape}")
        if keys < 1 or bool((np.diff(self.times) <= 0).any()):
            raise InputError("Animation.times must rise")
