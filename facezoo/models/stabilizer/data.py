"""Pairs as training data: numbered steps that become aligned pairs on the training device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from facezoo.errors import InputError, RecipeError
from facezoo.heads import HeadModel
from facezoo.models.stabilizer.align import align_pair
from facezoo.models.stabilizer.config import PairConfig, StabilizerConfig
from facezoo.models.stabilizer.pairs import HELD_OUT, AlignedBatch, PairSampler
from facezoo.models.stabilizer.ridge import fit_ridge

_START = 1 << 39  # steps that the linear part is fitted to


class PairMaker(nn.Module):
    """Turn a step number into aligned pairs, on the device of the tables."""

    template: Tensor
    trust: Tensor

    def __init__(
        self, sampler: PairSampler, template: Tensor, trust: Tensor, config: StabilizerConfig
    ) -> None:
        super().__init__()
        self.sampler, self.config = sampler, config
        self.register_buffer("template", template, persistent=False)
        self.register_buffer("trust", trust, persistent=False)

    @torch.no_grad()
    def forward(self, batch: dict[str, Tensor], seed: int = 0) -> AlignedBatch:
        """Make the pairs of ``batch["seed"]`` (1,), a step number; ``batch["count"]`` (1,) of them."""
        with torch.autocast(self.template.device.type, enabled=False):
            pairs = self.sampler(int(batch["seed"]), int(batch["count"]))
            config = self.config
            found = align_pair(
                pairs.target,
                pairs.source,
                self.template,
                self.trust,
                procrustes=config.procrustes,
                symmetric=config.symmetric,
            )
            truth = found.forth(pairs.truth.to(torch.float64))
            return AlignedBatch(found.target, found.source, truth.R.float(), truth.t.float())


class _Steps(IterableDataset[dict[str, Tensor]]):
    """Endless step numbers of one process."""

    def __init__(self, count: int, start: int, rank: int, world: int) -> None:
        self.count, self.start, self.rank, self.world = count, start, rank, world

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        step = self.start
        while True:
            yield self.read_step(step)
            step += 1

    def read_step(self, step: int, rank: int | None = None) -> dict[str, Tensor]:
        """Return the batch of a step, this rank's or another's."""
        return _numbered(step * self.world + (self.rank if rank is None else rank), self.count)


class _Source:
    """What the run's records ask about the data."""

    def __init__(self, licence: str) -> None:
        self.licence = licence


class PairData:
    """Data of a run, in the place of a :class:`~facezoo.data.datamodule.FaceDataModule`."""

    def __init__(self, config: PairConfig, head: HeadModel) -> None:
        self.config, self.head_id = config, head.head_id
        self.train = _Source(head.licence)

    def train_loader(
        self, start: int = 0, rank: int = 0, world: int = 1, *, stop: int = 0, seen: int | None = None
    ) -> DataLoader[dict[str, Tensor]]:
        """Return the endless loader that begins at step ``start``; nothing is fetched ahead of ``stop``."""
        return DataLoader(_Steps(self.config.batch_size, start, rank, world), batch_size=None)

    def validation_loader(self, rank: int = 0, world: int = 1) -> DataLoader[dict[str, Tensor]]:
        """Return one process's share of the held-out pairs.

        Raises:
            InputError: there are fewer pairs than processes.
        """
        share = self.config.validation // world
        if share < 1:
            raise InputError(
                f"data.validation={self.config.validation} leaves some of {world} processes without; raise it"
            )
        return DataLoader([_numbered(HELD_OUT + rank, share)], batch_size=None)  # type: ignore[arg-type]

    def start(self, model: Any, maker: PairMaker) -> None:
        """Fit the linear part of an untrained model to ``data.start`` pairs."""
        size = self.config.batch_size
        batches = (maker(_numbered(_START + i, size)) for i in range(self.config.start // size))
        model.net.ridge.copy_(fit_ridge(batches, model.middle, model.net.ridge))


def check_pictures(every: int) -> None:
    """Refuse training pictures, of which pairs of meshes have none."""
    if every:
        raise RecipeError(f"trainer.image_every={every}, but pairs of meshes have no pictures; set it to 0")


def _numbered(step: int, count: int) -> dict[str, Any]:
    return {"seed": torch.tensor([step]), "count": torch.tensor([count])}
