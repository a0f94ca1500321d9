"""Heads from 2D points: residuals with analytic derivatives and a batched Levenberg-Marquardt solver."""

from facezoo.fitting.fit import fit
from facezoo.fitting.state import FitResult, FitState, Prior

__all__ = ["FitResult", "FitState", "Prior", "fit"]
