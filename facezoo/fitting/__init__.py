"""Heads from 2D points, one picture or many frames and views: analytic derivatives and Levenberg-Marquardt."""

from facezoo.fitting.fit import fit
from facezoo.fitting.sequence import fit_sequence
from facezoo.fitting.sequence_state import (
    Deformation,
    Motion,
    NeutralPrior,
    SequenceFit,
    SequenceState,
    SharedPrior,
)
from facezoo.fitting.state import FitResult, FitState, Prior

__all__ = [
    "Deformation",
    "FitResult",
    "FitState",
    "Motion",
    "NeutralPrior",
    "Prior",
    "SequenceFit",
    "SequenceState",
    "SharedPrior",
    "fit",
    "fit_sequence",
]
