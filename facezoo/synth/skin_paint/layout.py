"""Where a head's features lie in its texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import InputError


@dataclass(frozen=True, eq=False)
class FaceLayout:
    """Where a head's features lie in its texture; u to the right = the subject's left, v up, both in [0, 1].

    Attributes:
        brow_left, brow_right: (N, 2) middle of the brow, inner to outer end.
        lip_upper, lip_lower: (N, 2) closed outlines of the red.
        eye_left, eye_right: (N, 2) closed outlines of the opening between the lids.
        nose_tip: (2,).
        nostrils, cheeks, ears: (2, 2) left, right.
        beard, moustache: (N, 2) closed outlines of where hair can grow.
        scalp: (N, 2) closed outline of the hair's region; its border on the brow is the hairline.
        neck_line: (N, 2) a line around the front of the neck.
        position: (S, S, 3) rest position of each texel in metres, y up, x to the subject's left; row 0 is v = 1.
        mask: (S, S) True where the texel belongs to the skin.
        brow_thickness: full height of an average brow, metres.
    """

    brow_left: NDArray
    brow_right: NDArray
    lip_upper: NDArray
    lip_lower: NDArray
    eye_left: NDArray
    eye_right: NDArray
    nose_tip: NDArray
    nostrils: NDArray
    cheeks: NDArray
    ears: NDArray
    beard: NDArray
    moustache: NDArray
    scalp: NDArray
    neck_line: NDArray
    position: NDArray
    mask: NDArray
    brow_thickness: float = 0.0085

    def __post_init__(self) -> None:
        s = self.mask.shape[0]
        if self.mask.shape != (s, s) or self.position.shape != (s, s, 3):
            raise InputError(
                f"position must be (S, S, 3) and mask (S, S), got {self.position.shape} and {self.mask.shape}."
            )
        for name in ("nostrils", "cheeks", "ears"):
            if np.shape(getattr(self, name)) != (2, 2):
                raise InputError(
                    f"FaceLayout.{name} must be (2, 2): left, right; got {np.shape(getattr(self, name))}."
                )
        if not self.mask.any():
            raise InputError("FaceLayout.mask has no skin texel.")
