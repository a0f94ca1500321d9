"""Data of a head's larger vertex subset, read as data of a smaller one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from facezoo.data.sources import SampleSource
from facezoo.errors import RecipeError
from facezoo.heads import HeadModel

_PER_POINT = ("points", "visible")


class PointSubset:
    """A source whose dense points are some of another's."""

    def __init__(self, source: SampleSource, rows: Tensor) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.source)

    def read(self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str]) -> dict[str, Tensor]:
        """Return the source's batch with fewer points."""
        batch = self.source.read(numbers, fields)
        return {k: v[:, self.rows] if k in _PER_POINT else v for k, v in batch.items()}

    def sizes(self) -> dict[str, int]:
        """Return the source's sizes with the number of points that are left."""
        return {**self.source.sizes(), "points": len(self.rows)}

    def persons(self) -> np.ndarray | None:
        """Return the source's people."""
        return self.source.persons()


def thin_points(source: SampleSource, head: HeadModel, points: int) -> SampleSource:
    """Return a source with the dense points of a smaller subset of the head.

    Raises:
        RecipeError: the data's points do not hold the wanted ones.
    """
    given, subsets = source.sizes()["points"], head.topology.subsets
    refusal = RecipeError(
        f"the data has {given} dense points but model.points={points}; set model.points={given} or a smaller subset of "
        f"head {head.head_id!r} ({', '.join(str(n) for n in sorted(subsets) if n <= given)}), or render other data"
    )
    if given not in subsets or points not in subsets or points > given:
        raise refusal
    place = torch.full((len(head.v_template),), -1, dtype=torch.long)
    place[subsets[given]] = torch.arange(given)
    rows = place[subsets[points]]
    if bool((rows < 0).any()):
        raise refusal
    return PointSubset(source, rows)
