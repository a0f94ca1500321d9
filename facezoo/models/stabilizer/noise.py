"""What registration does to a mesh: smooth errors at several scales, jitter of vertices, a drifting scale."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from facezoo.models.stabilizer.config import PairConfig
from facezoo.models.stabilizer.regions import Regions, spread

_HEAD = 280.0  # mm: a head is about as high; what a field of one width needs knots for
_MOST_KNOTS = 160


class RegistrationNoise(nn.Module):
    """Random displacement fields on fixed points.

    Smooth fields are sums of Gaussian bumps whose middles are spread over the head, scaled so that a field has unit
    root mean square everywhere. Scalp, cranium and ears are noisier: hair hides them from every scanner, and a
    registration fills in what it does not see.

    A network that always saw the same middles would learn them, and err where noise has others: a training draws from
    several layouts (``config.layouts``). The layout of a single one begins at the top of the head; no other does.
    """

    bumps: Tensor
    white: Tensor
    inside: Tensor

    def __init__(self, template: Tensor, ids: Tensor, areas: Regions, config: PairConfig) -> None:
        """Build the fields.

        Args:
            template: (V, 3) positions of all vertices, metres.
            ids: (n, k) vertices that each point is the mean of.
            areas: of the head.
            config: amplitudes and widths.
        """
        super().__init__()
        self.config = config
        factor = torch.ones(len(template))
        factor[areas.cranium] = config.hair
        factor[areas.ears] = 1 + (config.hair - 1) / 2
        points = template[ids].flatten(0, 1).double()  # (n k, 3)
        self.sizes = [max(16, min(_MOST_KNOTS, int((_HEAD / width) ** 2))) for width in config.widths]
        layouts = []
        for start in _starts(config.layouts, len(template)):
            order = torch.tensor(list(islice(spread(template.numpy(), start), max(self.sizes, default=0))))
            tables = []
            for size, width, count in zip(config.noise, config.widths, self.sizes, strict=True):
                far = torch.cdist(template[order[:count]].double(), points).square()
                bumps = torch.exp(-far / (2 * (width / 1e3) ** 2)).float()
                bumps = bumps / bumps.square().sum(0).sqrt().clamp(min=1e-6)
                tables.append(size / 3**0.5 * (bumps.unflatten(1, ids.shape) * factor[ids]).mean(2))
            layouts.append(torch.cat(tables))
        self.register_buffer("bumps", torch.stack(layouts), persistent=False)
        white = config.white * factor[ids].square().sum(1).sqrt() / ids.shape[1]
        self.register_buffer("white", white, persistent=False)
        inside = torch.isin(ids[:, 0], areas.full_head).float()
        inside = inside if bool(inside.any()) else torch.ones_like(inside)
        self.register_buffer("inside", inside / inside.sum(), persistent=False)

    def forward(self, vertices: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
        """Return noisy copies of points (B, n, 3), metres; ``strength`` 0 leaves them as they are."""
        if strength == 0:
            return vertices
        count, device = len(vertices), vertices.device
        # A draw only where there is a choice: with one layout, the pairs of a seed are those of earlier versions.
        many = len(self.bumps) > 1
        chosen = torch.randint(len(self.bumps), (1,), generator=generator, device=device) if many else 0
        bumps = self.bumps[chosen].view(-1, self.bumps.shape[-1])

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device)

        # Not every registration is as bad as the other: a third to five thirds of the amplitude, by scale.
        gain = 1 / 3 + 4 / 3 * torch.rand(count, len(self.sizes), generator=generator, device=device)
        gain = torch.cat([gain[:, i : i + 1].expand(-1, size) for i, size in enumerate(self.sizes)], 1)
        strengths = gain[:, None] * normal(count, 3, len(bumps))
        moved = (strengths @ bumps).mT + self.white[:, None] * normal(*vertices.shape)
        # About the middle of the mask: where the skull of a head of another size lies is a convention.
        centre = (self.inside @ vertices)[:, None]
        scale = 1 + strength * self.config.drift * normal(count, 1, 1)
        moved.mul_(strength * 1e-3)
        return torch.addcmul(moved.add_((1 - scale) * centre), scale, vertices)


def _starts(layouts: int, count: int) -> list[int | None]:
    """Return the vertices that layouts begin at; None is the highest one."""
    return [None] if layouts == 1 else np.random.default_rng(layouts).integers(count, size=layouts).tolist()
