"""The jaw's rotation and its derivative, in few operations: the solver asks for them at every step."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from facezoo.geometry.rotations import skew

_TERMS = 13


@functools.lru_cache(maxsize=8)
def _constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the generators (3, 3, 3), the series (13, 4) and their exponents (13,)."""
    with torch.inference_mode(False):
        # a = sin θ/θ, b = (1 - cos θ)/θ² and their derivatives by s = θ², as power series in s
        a = [(-1) ** k / math.factorial(2 * k + 1) for k in range(_TERMS + 1)]
        b = [(-1) ** k / math.factorial(2 * k + 2) for k in range(_TERMS + 1)]
        rows = [[a[k], b[k], (k + 1) * a[k + 1], (k + 1) * b[k + 1]] for k in range(_TERMS)]
        series = torch.tensor(rows, dtype=dtype, device=device)
        generators = skew(torch.eye(3, dtype=dtype, device=device))
        return generators, series, torch.arange(_TERMS, dtype=dtype, device=device)


def jaw_rotation(v: Tensor) -> tuple[Tensor, Tensor]:
    """Return R - I and ∂R/∂v for R = exp([v]×) = I + a [v]× + b [v]×² (Rodrigues).

    a and b are evaluated as power series of |v|², which has no special case at zero. 13 terms are exact to 1e-13 up
    to half a turn, far beyond any jaw.

    Args:
        v: (B, 3) axis-angle, radians.

    Returns:
        (B, 3, 3), and (B, 3, 3, 3) with [:, k] = ∂R/∂v_k.
    """
    generators, series, exponents = _constants(v.dtype, v.device)
    squared = (v * v).sum(1, keepdim=True)
    a, b, da, db = (squared**exponents @ series)[..., None, None].unbind(1)
    cross = (v @ generators.flatten(1)).view(-1, 3, 3)
    square = cross @ cross
    turn = torch.addcmul(a * cross, b, square)
    change = torch.addcmul(da * cross, db, square).mul_(2)  # by |v|², whose derivative is 2 v_k
    product = generators @ cross[:, None]  # ∂[v]×²/∂v_k = G_k [v]× + [v]× G_k
    turns = torch.addcmul(v[:, :, None, None] * change[:, None], a[:, None], generators)
    return turn, torch.addcmul(turns, b[:, None], product + product.mT)


def small_rotation(step: Tensor) -> Tensor:
    """Return the rotations (B, 3, 3) of steps (B, 3) by Cayley's map, which agrees with exp to second order.

    Any curve of rotations with the right tangent serves as an update; this one is a single linear solve.
    """
    generators, _, _ = _constants(step.dtype, step.device)
    half = (step @ generators.flatten(1)).view(-1, 3, 3).mul_(0.5)
    eye = torch.eye(3, dtype=step.dtype, device=step.device)
    return torch.linalg.solve(eye - half, eye + half)
