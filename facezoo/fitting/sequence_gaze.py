"""Gaze in a sequence: each eyeball turns about its own joint, both look at one thing, glances are quick but smooth.

An eyeball's vertices obey the jaw's formula with another joint, ``v = x + w (E - I)(x - j)``, so that the same
objective serves: the observed vertices are divided into parts, and each part moves one joint.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting.arrowhead import Arrowhead
from facezoo.fitting.problem import FitProblem, fit_problem
from facezoo.fitting.sequence_state import Motion
from facezoo.heads.model import HeadModel

EYES = ("left_eye", "right_eye")
_JOINTS = (3, 4)
_LEAST = 3  # vertices that tell a rotation
_VERGENCE = (0.02, 0.07, 0.02)  # radians, standard deviation of left minus right: pitch, yaw, roll
_STENCIL = (1.0, -2.0, 1.0)


class Part(NamedTuple):
    """Observed vertices that one joint moves.

    Attributes:
        problem: these vertices.
        places: (N',) their positions among the observed ones, None for all (the eyeballs' have no weight there).
        angles: where the joint's angles lie in ``SequenceState.moves``.
    """

    problem: FitProblem
    places: Tensor | None
    angles: slice


def eye_vertices(head: HeadModel, vertex_ids: Tensor) -> list[Tensor]:
    """Return the positions among the observed vertices that follow the left and the right eye's joint."""
    weights = head.weights[vertex_ids.to(head.weights.device)].cpu()
    return [(weights[:, joint] > 0.5).nonzero()[:, 0] for joint in _JOINTS]


def eye_parts(head: HeadModel, vertex_ids: Tensor, like: FitProblem) -> list[Part]:
    """Return a part an eyeball that is observed.

    Args:
        head: the head.
        vertex_ids: (N,) observed vertices.
        like: the problem of all observed vertices, whose coefficients and precision are used.

    Raises:
        InputError: no eyeball is observed.
    """
    ids, start, parts = vertex_ids.cpu(), like.n_expression + 3, []
    for eye, places in enumerate(eye_vertices(head, vertex_ids)):
        if len(places) < _LEAST:
            continue
        problem = fit_problem(
            head, ids[places], n_identity=like.n_identity, n_expression=like.n_expression,
            dtype=like.template.dtype, device=like.template.device, joint=_JOINTS[eye],
        )  # fmt: skip
        angles = slice(start + 3 * eye, start + 3 * eye + 3)
        parts.append(Part(problem, places.to(like.template.device), angles))
    if not parts:
        raise InputError(
            f"gaze needs observed vertices of an eyeball, but none of the {len(ids)} given follows an eye's joint; "
            "leave gaze out, or observe more vertices (of open-v1 the subset 4757 has both eyes)."
        )
    return parts


class GazeTerm:
    """Priors between the eyes and over time, quadratic in the last six of ``moves``; exact.

    cost = ½ Σ_t |(left - right) / vergence|² + ½ Σ_t |fps² (g_{t-1} - 2 g_t + g_{t+1})|² / gaze_sigma²

    Args:
        weight: of the whole prior.
        motion: its rate and ``gaze_sigma``, or None for pictures that are no video.
        segment: (T,) as of :class:`~facezoo.fitting.motion.MotionTerm`.
    """

    def __init__(self, weight: float, motion: Motion | None, segment: Tensor) -> None:
        tie = weight / torch.tensor(_VERGENCE, dtype=torch.float64).square()
        both = torch.cat((torch.eye(3), -torch.eye(3)), 1).double()
        self.tie = (both.mT * tie @ both).to(segment.device)
        self.factor = 0.0 if motion is None else motion.fps**4 / motion.gaze_sigma**2
        self.valid = (segment[2:] == segment[1:-1]) & (segment[1:-1] == segment[:-2])

    def cost(self, moves: Tensor) -> float:
        """Return the term at ``moves`` (T, n)."""
        return self._terms(moves)[0]

    def _terms(self, moves: Tensor) -> tuple[float, Tensor, Tensor]:
        gaze = moves[:, -6:].double()
        pull = gaze @ self.tie
        second = (gaze[:-2] - 2 * gaze[1:-1] + gaze[2:]) * self.valid[:, None]
        return 0.5 * float((pull * gaze).sum() + self.factor * second.square().sum()), pull, second

    def add(self, moves: Tensor, matrix: Arrowhead, frame: Tensor) -> float:
        """Add Hessian blocks and the frames' gradient (T, L); return the cost."""
        cost, pull, second = self._terms(moves)
        here = slice(moves.shape[1] - 6, moves.shape[1])
        frame[:, here] += pull
        matrix.diagonal[:, here, here] += self.tie
        if not self.factor:
            return cost
        count, own = len(second), self.factor * self.valid.double()[:, None]
        for i, row in enumerate(_STENCIL):
            frame[i : i + count, here] += row * self.factor * second
            for j, column in enumerate(_STENCIL[: i + 1]):
                target = (matrix.diagonal, matrix.first, matrix.second)[i - j]
                if target is not None:
                    target[j : j + count, here, here].diagonal(dim1=1, dim2=2).add_(row * column * own)
        return cost
