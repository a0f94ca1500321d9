"""Identities and expressions of any head, drawn in batches: usual, asymmetric, sparse and extreme ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from facezoo.heads import HeadModel

KINDS = ("usual", "asymmetric", "sparse", "extreme")
_LARGEST = 2.5  # standard deviations
_LEFT, _RIGHT = ("Left", "_L"), ("Right", "_R")


class Draw(NamedTuple):
    """One draw a row: ``expression`` (B, columns) and ``jaw`` (B, 3) axis-angle."""

    expression: Tensor
    jaw: Tensor


class Population(nn.Module):
    """Draws of one head. All tables are non-persistent buffers; draws follow the generator that is given.

    Attributes:
        sided: the head's components name their side (ARKit's do). Where they do not, every component has two columns,
            one that acts on the subject's left and one on the right, see
            :class:`~facezoo.models.stabilizer.geometry.PairGeometry`.
        columns: expression columns of a draw.
    """

    mean: Tensor
    chol: Tensor
    low: Tensor
    high: Tensor
    left: Tensor
    right: Tensor
    pool: Tensor
    pool_jaw: Tensor
    jaw_range: Tensor

    def __init__(self, head: HeadModel, pool: int, seed: int) -> None:
        super().__init__()
        spec = head.params["expression"]
        left = torch.tensor([name.endswith(_LEFT) for name in spec.names])
        right = torch.tensor([name.endswith(_RIGHT) for name in spec.names])
        self.sided = bool((left | right).float().mean() > 0.5)
        n = spec.size
        self.columns = n if self.sided else 2 * n
        bounds = spec.bounds
        reach = _LARGEST * spec.sigma
        low = torch.where(torch.isfinite(reach), -reach, -torch.ones(n)) if bounds is None else bounds[:, 0]
        high = torch.where(torch.isfinite(reach), reach, torch.ones(n)) if bounds is None else bounds[:, 1]
        opening = head.meta.get("joint_shapes", {}).get("jawOpen")
        jaw = torch.tensor([2 * s for s in head.params["jaw"].sigma.tolist()])
        jaw[0] = math.radians(opening[2]) if opening else jaw[0]
        shapes, jaws = _pool(head, low, high, jaw, pool, np.random.default_rng([seed, 5]))
        if not self.sided:
            left = torch.cat([torch.ones(n), torch.zeros(n)]).bool()
            right, shapes = ~left, torch.cat([shapes, shapes], 1)
            low, high = torch.cat([low, low]), torch.cat([high, high])
        mean, chol = _identities(head)
        tables = {
            "mean": mean, "chol": chol, "low": low, "high": high, "left": left, "right": right,
            "pool": shapes, "pool_jaw": jaws, "jaw_range": jaw,
        }  # fmt: skip
        for name, value in tables.items():
            self.register_buffer(name, value, persistent=False)

    def identities(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, n_identity) coefficients."""
        device = self.mean.device
        z = torch.randn(count, self.mean.shape[1], generator=generator, device=device)
        group = torch.randint(len(self.mean), (count,), generator=generator, device=device)
        gain = 0.7 + 0.4 * torch.rand(count, 1, generator=generator, device=device)
        z = (gain * z).clamp(-_LARGEST, _LARGEST)
        drawn = z.new_empty(count, self.mean.shape[1])
        for sex in range(len(self.mean)):
            rows = group == sex
            drawn[rows] = self.mean[sex] + z[rows] @ self.chol[sex].T
        return drawn

    def expressions(self, kinds: Tensor, generator: torch.Generator) -> Draw:
        """Draw one expression for each kind.

        Args:
            kinds: (B,) positions in :data:`KINDS`.
            generator: on the device of the tables.
        """
        count, device = len(kinds), self.pool.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device)

        first, second = torch.randint(len(self.pool), (2, count), generator=generator, device=device)
        usual = self.pool[first]
        # Left side of one face, right side of another, each between half and a little more than it was.
        gains = 0.5 + 0.8 * uniform(count, 2)
        other = self.pool[second]
        halves = torch.where(
            self.left, gains[:, :1] * usual, torch.where(self.right, gains[:, 1:] * other, usual)
        )
        alone = uniform(count, 1) < 0.3  # one side moves, the other is at rest
        halves = torch.where(alone & self.right, torch.zeros_like(halves), halves)
        mirrored = uniform(count, 1) < 0.5
        halves = torch.where(mirrored, self._sides_changed(halves), halves)
        # A few components anywhere in their range.
        rate = (1 + 3 * uniform(count, 1)) / self.pool.shape[1]
        span = self.low + (self.high - self.low) * uniform(count, self.pool.shape[1])
        sparse = torch.where(uniform(count, self.pool.shape[1]) < rate, span, torch.zeros_like(span))
        # Many components near or beyond the ends of their range.
        rate = (4 + 6 * uniform(count, 1)) / self.pool.shape[1]
        end = torch.where(
            uniform(count, self.pool.shape[1]) * (self.high - self.low) < self.high, self.high, self.low
        )
        far = end * (0.6 + 0.6 * uniform(count, self.pool.shape[1]))
        extreme = torch.where(uniform(count, self.pool.shape[1]) < rate, far, usual)
        expression = torch.stack([usual, halves, sparse, extreme])[kinds, torch.arange(count, device=device)]
        turn = 2 * uniform(count, 3) - 1
        turn[:, 0] = uniform(count)
        free = turn * self.jaw_range
        some = (uniform(count, 1) < 0.4).float()
        near = self.pool_jaw[first]
        jaw = torch.stack([near, near + 0.3 * some * free, some * free, free])[
            kinds, torch.arange(count, device=device)
        ]
        return Draw(expression, jaw)

    def _sides_changed(self, halves: Tensor) -> Tensor:
        """Give the left components the right ones' values and the other way round, where both sides are listed."""
        left, right = torch.nonzero(self.left)[:, 0], torch.nonzero(self.right)[:, 0]
        if len(left) != len(right):
            return halves
        changed = halves.clone()
        changed[:, left], changed[:, right] = halves[:, right], halves[:, left]
        return changed


def _identities(head: HeadModel) -> tuple[Tensor, Tensor]:
    """Return means (G, n) and factors (G, n, n) of the groups that identities are drawn from."""
    if "sex_mean" in head.extra and "sex_chol" in head.extra:
        return (
            torch.from_numpy(np.array(head.extra["sex_mean"], np.float32)),
            torch.from_numpy(np.array(head.extra["sex_chol"], np.float32)),
        )
    sigma = head.params["identity"].sigma
    return torch.zeros(1, len(sigma)), torch.diag(sigma)[None]


def _pool(
    head: HeadModel, low: Tensor, high: Tensor, jaw: Tensor, count: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw usual expressions (count, n) and jaws (count, 3): faces with names as people make them, others by sigma."""
    names = head.params["expression"].names
    if {"eyeBlinkLeft", "mouthSmileRight", "browInnerUp"} <= set(names) and "jawOpen" not in names:
        from facezoo.synth.people import sample_expression

        drawn = [sample_expression(rng, head) for _ in range(count)]
        shapes = torch.tensor([[weights[name] for name in names] for weights, _ in drawn])
        opening = torch.tensor([opening for _, opening in drawn]) * jaw[0]
        side = torch.from_numpy(rng.normal(0, 0.02, count) * (rng.random(count) < 0.3)).float()
        return shapes, torch.stack([opening, side, torch.zeros(count)], 1)
    sigma = head.params["expression"].sigma
    z = torch.from_numpy(rng.standard_normal((count, len(names)))).float()
    if bool((low >= 0).all()):  # blend shapes: most rest, the others are somewhere on their way
        active = torch.from_numpy(rng.random((count, len(names))) < 0.25)
        shapes = torch.where(active, (0.35 * z.abs()).clamp(max=1) * high, torch.zeros_like(z))
    else:
        shapes = (z * sigma).clamp(low, high)
    return shapes, torch.from_numpy(np.abs(rng.standard_normal((count, 3)))).float() * jaw * torch.tensor(
        [0.3, 0.0, 0.0]
    )
