"""Loader processes: how many, and the two loaders over batches that are known beforehand."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from facezoo.data.shards import FIELDS, OPTIONAL

if TYPE_CHECKING:
    from facezoo.data.sources import SampleSource

Batch = dict[str, Tensor]


def worker_count(asked: int, *, renders: bool, processes: int = 1) -> int:
    """Return the number of loader processes of one training process.

    Args:
        asked: the recipe's ``data.workers``; -1 leaves the choice to this function.
        renders: whether samples are rendered. That takes a core a worker, and all cores are used; samples on disk are
            memory-mapped, and a few workers feed a GPU where a CPU needs none.
        processes: training processes that share this machine.
    """
    if asked >= 0:
        return asked
    if renders:
        return max(1, available_cores() // processes)
    return max(1, min(4, available_cores() // processes)) if torch.cuda.is_available() else 0


def available_cores() -> int:
    """Return the number of cores that this process may use (a container or SLURM may give it fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ignore_interrupt(worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the training process: it ends its step first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class NumberedBatches(Dataset[Batch]):
    """Batches of a source by lists of sample numbers."""

    def __init__(self, source: SampleSource, numbers: Sequence[np.ndarray], fields: Sequence[str]) -> None:
        self.source, self.numbers, self.fields = source, numbers, tuple(fields)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        return self.source.read(self.numbers[index], self.fields)

    def in_order(self, workers: int, chosen: Sequence[int] | None = None) -> DataLoader[Batch]:
        """Return a loader over all batches, or the chosen ones, in order."""
        some = self if chosen is None else Subset(self, list(chosen))
        workers = min(workers, len(some))
        return DataLoader(
            some,
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            prefetch_factor=1 if workers else None,
            multiprocessing_context="forkserver" if workers else None,
            worker_init_fn=ignore_interrupt,
        )


class HeldOutLoader:
    """The held-out samples of one process in order, as batches.

    Processes take samples in turn, so that their shares differ by one at most. Rendered samples are rendered by workers
    at the first validation and kept in memory, because rendering costs more.
    """

    def __init__(
        self,
        source: SampleSource,
        count: int,
        batch_size: int,
        *,
        keep: bool,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        numbers = np.arange(rank, count, world)
        parts = [numbers[i : i + batch_size] for i in range(0, len(numbers), batch_size)]
        self.batches = NumberedBatches(source, parts, (*FIELDS, *OPTIONAL))
        self.keep, self.workers = keep, workers
        self._kept: dict[int, Batch] = {}

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        missing = [i for i in range(len(self)) if i not in self._kept]
        fresh: Iterator[Batch] = iter(self.batches.in_order(self.workers, missing) if missing else ())
        for index in range(len(self)):
            if index in self._kept:
                yield self._kept[index]
                continue
            batch = next(fresh)
            if self.keep:
                self._kept[index] = batch
            yield batch

    def batch(self, index: int) -> Batch:
        """Return one batch without loading the others."""
        if index not in self._kept:
            batch = self.batches[index]
            if not self.keep:
                return batch
            self._kept[index] = batch
        return self._kept[index]
