"""What people use to stabilise faces without a network, as functions from a batch of pairs to transforms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from facezoo.geometry import align
from facezoo.heads import HeadModel
from facezoo.models.stabilizer import RigidTransform
from facezoo.models.stabilizer.criterion import distances
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.models.stabilizer.regions import Regions

Baseline = Callable[[Tensor, Tensor], RigidTransform]

_ROUNDS = 25
_WIDEST, _NARROWEST = 4.0, 0.8  # mm: kernel of mode pursuit, first and last
_MAP_PAIRS, _MAP_BATCH = 512, 64


def raw(source: Tensor, target: Tensor) -> RigidTransform:
    """Change nothing."""
    return RigidTransform.identity((len(source),), source)


def procrustes(source: Tensor, target: Tensor, weights: Tensor) -> RigidTransform:
    """Align rigidly by weighted least squares; weights (V,) or (B, V)."""
    found = align(source, target, weights, scale=False)
    return RigidTransform(found.R, found.t)


def reweighted(source: Tensor, target: Tensor, weights: Tensor) -> RigidTransform:
    """Align by iteratively reweighted Procrustes: Tukey's function, scale from the median of the residuals."""
    found = procrustes(source, target, weights)
    for _ in range(_ROUNDS):
        rest = (found.apply(source) - target).norm(dim=-1)
        scale = 4.685 * 1.4826 * rest[:, weights > 0].median(1, keepdim=True).values.clamp(min=1e-6) / 1.5
        tukey = (1 - (rest / scale).clamp(max=1).square()).square() + 1e-6
        found = procrustes(source, target, weights * tukey)
    return found


def mode_pursuit(source: Tensor, target: Tensor, starts: list[Tensor], weights: Tensor) -> RigidTransform:
    """Seek the transform under which as many vertices as possible stand still (after mode pursuit, EA SEED 2018).

    Maximises the sum of Gaussian kernels of the residuals, whose width shrinks; the best of several starts counts.

    Args:
        source: (B, V, 3).
        target: (B, V, 3).
        starts: weights (V,) of the alignments to begin with.
        weights: (V,) of the vertices that take part.
    """
    best, most = raw(source, target), torch.full((len(source),), -1.0)
    for start in starts:
        found = procrustes(source, target, start)
        for step in range(_ROUNDS):
            width = _WIDEST * (_NARROWEST / _WIDEST) ** (step / (_ROUNDS - 1))
            rest = 1e3 * (found.apply(source) - target).norm(dim=-1)
            kernel = torch.exp(-(rest / width).square() / 2)
            found = procrustes(source, target, weights * kernel + 1e-9)
        still = (weights * kernel).sum(1)
        better = still > most
        most = torch.where(better, still, most)
        best = RigidTransform(
            torch.where(better[:, None, None], found.R, best.R), torch.where(better[:, None], found.t, best.t)
        )
    return best


def stability_map(sampler: PairSampler) -> Tensor:
    """Learn how still each vertex stands in training pairs: the fixed weights (V,) of the best Procrustes alignment.

    In the line of Beeler and Bradley 2014: a map of confidence over the face. A vertex counts by the inverse of its
    mean squared motion, noise included, once skulls are in place.
    """
    total = torch.zeros(len(sampler.ids))
    for step in range(_MAP_PAIRS // _MAP_BATCH):
        pairs = sampler(step, _MAP_BATCH)
        rest = pairs.truth.apply(pairs.source) - pairs.target
        total += rest.square().sum(-1).sum(0)
    weights = 1 / (total / _MAP_PAIRS)
    return weights / weights.max()


def baselines(head: HeadModel, areas: Regions, learned: Tensor) -> dict[str, Baseline]:
    """Name the baselines that need no fitting.

    Args:
        head: the head.
        areas: its regions.
        learned: weights of :func:`stability_map`.
    """

    def only(ids: Tensor) -> Tensor:
        weights = torch.zeros(head.n_vertices)
        weights[ids] = 1
        return weights

    everything, upper, mask = torch.ones(head.n_vertices), only(areas.upper_face), only(areas.full_head)
    starts = [upper, mask]
    return {
        "raw": raw,
        "procrustes, all vertices": lambda s, t: procrustes(s, t, everything),
        "procrustes, upper face": lambda s, t: procrustes(s, t, upper),
        "reweighted procrustes": lambda s, t: reweighted(s, t, mask),
        "mode pursuit": lambda s, t: mode_pursuit(s, t, starts, mask),
        "stability map": lambda s, t: procrustes(s, t, learned),
    }


def disagreement(a: RigidTransform, b: RigidTransform, vertices: Tensor) -> Tensor:
    """Return the largest distance in mm (B,) between where two transforms bring vertices (B, V, 3)."""
    return distances(a.to(torch.float64), b.to(torch.float64), vertices.double()).amax(1)
