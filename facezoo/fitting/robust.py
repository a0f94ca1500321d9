"""Robust losses as weights: ρ(s) of the squared normalised residual s, for iteratively re-weighted least squares."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from facezoo.errors import unknown_name

Robust = Literal["none", "huber", "geman-mcclure"]
ROBUST: tuple[Robust, ...] = ("none", "huber", "geman-mcclure")


def check_robust(name: str) -> None:
    """Raise for a name that is not a robust loss."""
    if name not in ROBUST:
        raise unknown_name("robust loss", str(name), ROBUST)


def rho(squared: Tensor, kind: Robust, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative, the weight of the point.

    The cost is ½ Σ ρ(s); ρ(s) ≈ s for small s, so that a robust and a plain cost compare.

    Args:
        squared: s (...), in squared standard deviations.
        kind: ``"none"``: ρ = s; ``"huber"``: linear in √s beyond ``scale``, convex; ``"geman-mcclure"``:
            s / (1 + s/scale²), forgets outliers, needs a start near the solution.
        scale: where outliers begin, in standard deviations; a number or broadcast to s.

    Returns:
        ρ(s) and ρ'(s), shaped like s.
    """
    if kind == "none":
        return squared, squared.new_ones(()).expand_as(squared)
    if kind == "huber":
        limit = scale * scale
        root = squared.clamp(min=1e-30).sqrt()
        outside = squared > limit
        return (
            squared.where(~outside, 2 * scale * root - limit),
            (scale / root).clamp(max=1.0),
        )
    shrink = 1 / (1 + squared / (scale * scale))
    return squared * shrink, shrink * shrink
