"""The jaw's rotation with its derivative, and small rotations, in few operations: every step asks for them."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from facezoo.geometry.rotations import skew

_TERMS = 13


@functools.lru_cache(maxsize=8)
def _constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return generators (3, 9), ∂[v]×²/∂v (3, 27), the series (13, 4), their exponents (13,) and the identity."""
    with torch.inference_mode(False):
        # a = sin θ/θ, b = (1 - cos θ)/θ² and their derivatives by s = θ², as power series in s
        a = [(-1) ** k / math.factorial(2 * k + 1) for k in range(_TERMS + 1)]
        b = [(-1) ** k / math.factorial(2 * k + 2) for k in range(_TERMS + 1)]
        rows = [[a[k], b[k], 2 * (k + 1) * a[k + 1], 2 * (k + 1) * b[k + 1]] for k in range(_TERMS)]
        series = torch.tensor(rows, dtype=dtype, device=device)
        g = skew(torch.eye(3, dtype=dtype, device=device))
        product = g[:, None] @ g[None]  # [i, k] = G_i G_k
        second = (product + product.transpose(0, 1)).reshape(3, 27)  # v_i (G_i G_k + G_k G_i) = ∂[v]×²/∂v_k
        exponents = torch.arange(_TERMS, dtype=dtype, device=device)
        return g.reshape(3, 9), second, series, exponents, torch.eye(3, dtype=dtype, device=device)


def jaw_rotation(v: Tensor) -> tuple[Tensor, Tensor]:
    """Return R - I and ∂R/∂v for R = exp([v]×) = I + a [v]× + b [v]×² (Rodrigues).

    a and b are evaluated as power series of |v|², which has no special case at zero. 13 terms are exact to
    1e-13 up to half a turn, far beyond any jaw.

    Args:
        v: (B, 3) axis-angle, radians.

    Returns:
        (B, 3, 3), and (B, 3, 9) with row k = ∂R/∂v_k, row-major.
    """
    generators, second, series, exponents, _ = _constants(v.dtype, v.device)
    cross = v.mm(generators)
    matrix = cross.view(-1, 3, 3)
    square = matrix.bmm(matrix).view(-1, 9)
    a, b, da, db = (v.square().sum(1, keepdim=True) ** exponents).mm(series).split(1, 1)
    turn = torch.addcmul(a * cross, b, square).view(-1, 3, 3)
    change = torch.addcmul(da * cross, db, square)[:, None]  # by v_k, over v_k
    turns = torch.addcmul(v[:, :, None] * change, a[:, None], generators)
    return turn, torch.addcmul(turns, b[:, None], v.mm(second).view(-1, 3, 9))


def small_rotation(step: Tensor) -> Tensor:
    """Return the rotations (B, 3, 3) of steps (B, 3) by Cayley's map, which agrees with exp to second order.

    Any curve of rotations with the right tangent serves as an update; this one is a single linear solve.
    """
    generators, _, _, _, eye = _constants(step.dtype, step.device)
    half = step.mm(generators).view(-1, 3, 3).mul_(0.5)
    return torch.linalg.solve(eye - half, eye + half)
