"""Priors of the neutral shape: displacements of vertices and their smoothness, and a shape to stay close to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting.problem import FitProblem
from facezoo.fitting.sequence_state import Deformation, NeutralPrior, SequenceState
from facezoo.heads.model import HeadModel
from facezoo.mesh.topology import edges, restrict_faces


def smoothness(head: HeadModel, vertex_ids: Tensor, deformation: Deformation) -> Tensor:
    """Return the precision (N, N) of each coordinate of the displacements.

    The Laplacian is that of the observed vertices' graph; a vertex without an observed neighbour is only held by
    its own width.
    """
    count = len(vertex_ids)
    pairs = edges(restrict_faces(head.topology.faces.cpu().numpy(), vertex_ids.cpu().numpy()))
    laplacian = np.zeros((count, count))
    for a, b in (pairs.T, pairs.T[::-1]):
        laplacian[a, b] = 1
    degree = laplacian.sum(1, keepdims=True)
    laplacian = np.where(degree > 0, np.eye(count), 0) - laplacian / np.maximum(degree, 1)
    smooth = torch.from_numpy(laplacian / deformation.smooth)
    return (smooth.mT @ smooth).add_(torch.eye(count, dtype=torch.float64) / deformation.sigma**2)


class NeutralTerm:
    """Quadratic prior over identity and displacements together: its Hessian is constant.

    Args:
        problem: the observed vertices.
        prior: a shape to stay close to, or None.
        precision: (N, N) of :func:`smoothness`, or None when displacements are fixed.

    Raises:
        InputError: the given shape has another number of vertices.
    """

    def __init__(self, problem: FitProblem, prior: NeutralPrior | None, precision: Tensor | None) -> None:
        self.precision, self.deforms = precision, precision is not None
        n, points = problem.n_identity, problem.n_points
        self.weight = 0.0
        # (N, 3, n_id) and (N, 3)
        self.basis = problem.by_vertex[..., :n].double()
        self.template = problem.template.view(3, points + 1)[:, :-1].mT.double()
        self.target = self.template
        if prior is not None:
            if prior.vertices.shape != (points, 3) or not prior.sigma > 0:
                raise InputError(
                    f"the neutral shape must be ({points}, 3) metres with sigma > 0, got "
                    f"{tuple(prior.vertices.shape)} and sigma {prior.sigma!r}."
                )
            self.weight = prior.weight / (points * prior.sigma**2)
            self.target = prior.vertices.detach().to(self.template)

    def cost(self, state: SequenceState) -> float:
        """Return the term at a state."""
        return self._terms(state)[0]

    def _terms(self, state: SequenceState) -> tuple[float, Tensor, Tensor]:
        offsets = state.offsets.double()
        miss = self.template + self.basis @ state.identity.double() + offsets - self.target
        pull = self.precision @ offsets if self.precision is not None else torch.zeros_like(offsets)
        return 0.5 * float(self.weight * miss.square().sum() + (pull * offsets).sum()), miss, pull

    def add(self, state: SequenceState, shared: Tensor, gradient: Tensor, offsets: slice | None) -> float:
        """Add to the shared block (S, S) and gradient (S,), identity first; return the cost."""
        cost, miss, pull = self._terms(state)
        n = len(state.identity)
        flat = self.basis.flatten(0, 1)
        if self.weight:
            shared[:n, :n] += self.weight * flat.mT @ flat
            gradient[:n] += self.weight * flat.mT @ miss.flatten()
        if offsets is not None and self.precision is not None:
            shared[offsets, offsets] += torch.kron(self.precision, torch.eye(3, dtype=torch.float64))
            gradient[offsets] += pull.flatten()
            if self.weight:
                shared[offsets, offsets].diagonal().add_(self.weight)
                shared[:n, offsets] += self.weight * flat.mT
                shared[offsets, :n] += self.weight * flat
                gradient[offsets] += self.weight * miss.flatten()
        return cost
