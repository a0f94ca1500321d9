"""What goes into a fit and what comes out: start, prior, result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.geometry.camera import Camera
from facezoo.heads.params import HeadParams
from facezoo.types import FitReport


class Unknowns(NamedTuple):
    """The solver's state, batch first.

    Attributes:
        values: (B, n + 4) identity, expression, jaw axis-angle (3), logarithm of the factor on the focal
            length.
        R: (B, 3, 3) head to camera.
        t: (B, 3) metres, depth positive.
    """

    values: Tensor
    R: Tensor
    t: Tensor


@dataclass(frozen=True)
class FitState:
    """Where a fit starts: a previous solution or a network's estimate; what is None starts at the prior's mean.

    Attributes:
        params: identity, expression and jaw are used.
        R: (B, 3, 3) head to camera and ``t`` (B, 3); without them the pose comes from the points.
        focal_scale: (B,) factor on the focal length of the K given to ``fit``.
    """

    params: HeadParams
    R: Tensor | None = None
    t: Tensor | None = None
    focal_scale: Tensor | None = None


@dataclass(frozen=True)
class Prior:
    """Gaussian prior of a fit, where it departs from the head's own (zero mean, widths of its ``ParamSpec``).

    To trust a network's estimate, put it into ``mean`` and how wrong it tends to be into the widths.

    Attributes:
        mean: identity, expression and jaw, (B, n) or (1, n); None = zero.
        identity_sigma, expression_sigma, jaw_sigma: standard deviations, a number or a tensor of the group's
            size; None = the head's own; ``inf`` = no prior.
        focal_sigma: standard deviation of log focal length around the given K, when it is estimated.
        weight: factor on the whole prior. Errors of dense landmarks are correlated, which a sum over points
            does not see: a weight above one (or larger sigmas of the points) makes up for it.
    """

    mean: HeadParams | None = None
    identity_sigma: Tensor | float | None = None
    expression_sigma: Tensor | float | None = None
    jaw_sigma: Tensor | float | None = None
    focal_sigma: float = 0.3
    weight: float = 1.0


@dataclass(frozen=True)
class FitResult:
    """A batch of fitted heads.

    Attributes:
        params: identity (B, n_id), expression (B, n_exp), jaw (B, 3); pose is in R and t.
        R: (B, 3, 3) head to camera, OpenCV axes. t: (B, 3) metres.
        K: (B, 3, 3) with the estimated focal length where it was estimated.
        cost: (B,) ½ (Σ ρ(p |e|²/σ²) + prior), dimensionless.
        rms: (B,) pixels, root mean square distance of used points from their projections.
        iterations: (B,) long, steps tried by the last stage.
        converged: (B,) bool.
        precision: (B, P, P), the Hessian of the cost (Gauss-Newton) at or next to the solution.
        layout: name -> slice of the P unknowns: identity, expression, jaw, focal (log, if estimated),
            rotation (radians, applied on the camera side), translation (over depth).
        focal_scale: (B,) factor on the focal length.
    """

    params: HeadParams
    R: Tensor
    t: Tensor
    K: Tensor
    cost: Tensor
    rms: Tensor
    iterations: Tensor
    converged: Tensor
    precision: Tensor
    layout: dict[str, slice]
    focal_scale: Tensor

    def report(self, row: int) -> FitReport:
        """Return how the fit of one head of the batch ended."""
        return FitReport(
            float(self.cost[row]), float(self.rms[row]), int(self.iterations[row]), bool(self.converged[row])
        )

    @property
    def covariance(self) -> Tensor:
        """Return the posterior covariance (B, P, P) of the unknowns in the order of ``layout``.

        The inverse of ``precision``: right as far as the problem is linear over the posterior's width, the
        sigmas of the points are true and their errors independent. Bounds are ignored. Computed when asked for.
        """
        scale = (
            self.precision.diagonal(dim1=-2, dim2=-1)
            .clamp(min=torch.finfo(self.precision.dtype).tiny)
            .rsqrt()
        )
        unit = self.precision * scale[:, :, None] * scale[:, None, :]
        return torch.linalg.inv(unit) * scale[:, :, None] * scale[:, None, :]

    def camera(self, image_size: tuple[int, int]) -> Camera:
        """Return the fitted camera for an image of (height, width)."""
        return Camera(self.K, self.R, self.t, image_size)

    def state(self) -> FitState:
        """Return this solution as a start for the next fit."""
        return FitState(self.params, self.R, self.t, self.focal_scale)
