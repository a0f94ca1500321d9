"""Training and test pairs made on the fly: one person, two expressions, the transform between the skulls known."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from facezoo.errors import unknown_name
from facezoo.geometry import axis_angle_to_matrix
from facezoo.heads import HeadModel
from facezoo.models.stabilizer.config import PairConfig
from facezoo.models.stabilizer.geometry import PairGeometry
from facezoo.models.stabilizer.noise import RegistrationNoise
from facezoo.models.stabilizer.people import KINDS, Population
from facezoo.models.stabilizer.regions import regions
from facezoo.models.stabilizer.rigid import RigidTransform

HELD_OUT = 1 << 40  # step numbers from here on are no training's
_TURN, _SHIFT = 0.6, 0.3  # of the rigid perturbations, radians and metres


class PairBatch(NamedTuple):
    """Pairs of meshes.

    Attributes:
        target: (B, n, 3) noisy vertices, metres.
        source: (B, n, 3) noisy vertices.
        truth: the transforms (B) from source to target that bring the skulls together.
        clean: (B, n, 3) the source without noise: what errors are measured on.
        kinds: (B,) positions in :data:`~facezoo.models.stabilizer.people.KINDS` of the source's expression.
    """

    target: Tensor
    source: Tensor
    truth: RigidTransform
    clean: Tensor
    kinds: Tensor


class AlignedBatch(NamedTuple):
    """What the network sees of pairs, and what it should say.

    Attributes:
        target: (B, n, 3) offsets of the aligned target from the template in :data:`~.net.UNIT`.
        source: (B, n, 3) of the aligned source.
        R, t: true motion of the aligned source, (B, 3, 3) and (B, 3) metres.
    """

    target: Tensor
    source: Tensor
    R: Tensor
    t: Tensor


class PairSampler(nn.Module):
    """Pairs by step number: step s of a seed is the same on every run, and no step below 2^40 is ever a test's.

    Attributes:
        ids: (n,) vertices of a mesh.
        geometry: :class:`PairGeometry` of these vertices.
        areas: regions of the head.
    """

    twin: Tensor | None

    def __init__(self, head: HeadModel, ids: Tensor, config: PairConfig, seed: int = 0) -> None:
        """Build the tables of a head.

        Args:
            head: any head, on the CPU.
            ids: (n,) vertices wanted, ascending; mirroring needs each vertex' mirror image among them.
            config: what is drawn.
            seed: of the run.
        """
        super().__init__()
        self.config, self.seed = config, seed
        self.population = Population(head, config.pool, seed)
        self.geometry = PairGeometry(head, ids, self.population.sided)
        self.ids = self.geometry.ids[:, 0].contiguous()
        self.areas = regions(head)
        self.noise = RegistrationNoise(head.v_template.cpu(), self.geometry.ids, self.areas, config)
        self.register_buffer("twin", _twins(head, self.ids), persistent=False)

    def forward(
        self, step: int, count: int | None = None, *, kind: str | None = None, strength: float = 1.0
    ) -> PairBatch:
        """Make the pairs of a training step.

        Args:
            step: number of the step; with ``data.limit`` it repeats after that many pairs.
            count: pairs, by default a batch.
            kind: one of :data:`KINDS` for both expressions; by default drawn by the configured shares.
            strength: of the noise.
        """
        config = self.config
        count = count or config.batch_size
        if config.limit and step < HELD_OUT:
            step %= max(1, config.limit // config.batch_size)
        device = self.geometry.template.device
        generator = torch.Generator(device=device)
        generator.manual_seed(_generator_seed(self.seed, step))
        kinds = self._kinds(count, kind, generator)
        identity = self.population.identities(count, generator)
        neck = math.pi / 180 * torch.tensor(config.neck, device=device)
        meshes, skulls = [], []
        for number in range(2):
            drawn = self.population.expressions(kinds[number], generator)
            turns = neck * (2 * torch.rand(count, 3, generator=generator, device=device) - 1)
            away = self._away(count, generator)
            vertices, skull = self.geometry(identity, drawn.expression, drawn.jaw, turns, away)
            if self.twin is not None:
                vertices, skull = _mirrored(vertices, skull, self.twin, round(config.mirror * count))
            meshes.append(vertices)
            skulls.append(skull)
        noisy = [self.noise(m, generator, strength) for m in meshes]
        forth = skulls[1] @ skulls[0].inverse()
        back = forth.inverse()
        # Rows come in random order, so those that are swapped are every other one of a regular pattern.
        place = torch.arange(count, device=device)
        swap = (place * config.swap).floor() != ((place + 1) * config.swap).floor()
        pick = swap[:, None, None]
        return PairBatch(
            target=torch.where(pick, noisy[0], noisy[1]),
            source=torch.where(pick, noisy[1], noisy[0]),
            truth=RigidTransform(
                torch.where(pick, back.R, forth.R), torch.where(swap[:, None], back.t, forth.t)
            ),
            clean=torch.where(pick, meshes[1], meshes[0]),
            kinds=torch.where(swap, kinds[1], kinds[0]),
        )

    def held_out(
        self, number: int, count: int, *, kind: str | None = None, strength: float = 1.0
    ) -> PairBatch:
        """Make pairs of people that no training batch holds."""
        return self(HELD_OUT + number, count, kind=kind, strength=strength)

    def _kinds(self, count: int, kind: str | None, generator: torch.Generator) -> Tensor:
        device = self.geometry.template.device
        if kind is not None:
            if kind not in KINDS:
                raise unknown_name("kind of expression", kind, KINDS)
            return torch.full((2, count), KINDS.index(kind), device=device)
        shares = torch.tensor(self.config.shares, device=device)
        return torch.multinomial(shares, 2 * count, replacement=True, generator=generator).view(2, count)

    def _away(self, count: int, generator: torch.Generator) -> RigidTransform:
        """Draw rigid perturbations: nobody's scans lie where the template lies."""
        device = self.geometry.template.device
        turn = _TURN * torch.randn(count, 3, generator=generator, device=device) / 3**0.5
        shift = _SHIFT * (2 * torch.rand(count, 3, generator=generator, device=device) - 1)
        return RigidTransform(axis_angle_to_matrix(turn), shift)


def _generator_seed(seed: int, step: int) -> int:
    """Mix seed and step into 32 bits, all that torch's generator of the CPU looks at; held-out steps get odd ones."""
    mixed = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    return mixed | 1 if step >= HELD_OUT else mixed & ~1


def _twins(head: HeadModel, ids: Tensor) -> Tensor | None:
    """Return the position of each point's mirror image, None where there is no symmetry or an image is missing."""
    table = head.topology.symmetry
    if table is None:
        return None
    images = table.cpu()[ids]
    place = torch.searchsorted(ids, images).clamp(max=len(ids) - 1)
    return place if bool((ids[place] == images).all()) else None


def _mirrored(
    vertices: Tensor, skull: RigidTransform, twin: Tensor, count: int
) -> tuple[Tensor, RigidTransform]:
    """Mirror the first ``count`` heads; the motion T of a skull becomes S T S for the mirror S."""
    sign = vertices.new_tensor([-1.0, 1.0, 1.0])
    R, t = skull.R.clone(), skull.t.clone()
    vertices[:count] = vertices[:count, twin] * sign
    R[:count] = sign[:, None] * R[:count] * sign
    t[:count] = sign * t[:count]
    return vertices, RigidTransform(R, t)
