"""From a data source to an endless, resumable sequence of training batches and a fixed validation set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from facezoo.data.augment import AugmentConfig
from facezoo.data.shards import FIELDS, ShardFolder, check_arrays, to_tensors
from facezoo.errors import InputError, unknown_name

SOURCES = ("stream", "shards")
LABELS = tuple(name for name in FIELDS if name != "images")
# The stream trains behind the seeds that shards are usually rendered from, and far before the reserved ones.
FIRST_TRAINING_SEED = 1_000_000


@dataclass
class DataConfig:
    """The recipe's ``data`` section.

    Attributes:
        source: ``"stream"`` renders synthetic people on the fly, ``"shards"`` reads a folder of rendered ones.
        root: the folder of shards.
        size: side of the pictures that the stream renders.
        batch_size: samples a step.
        workers: loader processes; 0 loads in the training process.
        validation: samples held out (the last of the shards, or reserved seeds of the stream).
        limit: use only the first so many training samples; 0 for all.
        statistics: samples measured for the network's starting point.
        augment: training augmentation.
    """

    source: str = "stream"
    root: str = ""
    size: int = 176
    batch_size: int = 64
    workers: int = 0
    validation: int = 512
    limit: int = 0
    statistics: int = 2048
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown_name("data.source", self.source, SOURCES)
        if self.source == "shards" and not self.root:
            raise InputError("data.source=shards needs data.root=FOLDER with shard-*.safetensors files")


class SampleSource(Protocol):
    """Samples by number."""

    def __len__(self) -> int:
        """Return the number of samples; 0 means endless."""

    def read(self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str]) -> dict[str, Tensor]:
        """Return a batch of sample arrays as tensors."""

    def sizes(self) -> dict[str, int]:
        """Return points, n_identity, n_expression and size (image side)."""


class ShardRange:
    """A contiguous part of a shard folder."""

    def __init__(self, folder: ShardFolder, first: int, count: int) -> None:
        self.folder, self.first, self.count = folder, first, count

    def __len__(self) -> int:
        return self.count

    def read(
        self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str] = tuple(FIELDS)
    ) -> dict[str, Tensor]:
        """Return samples ``first + numbers``."""
        return self.folder.read(np.asarray(numbers) + self.first, fields)

    def sizes(self) -> dict[str, int]:
        """Return the sizes that the files have."""
        return self.folder.sizes()


class SyntheticStream:
    """Synthetic people rendered when asked for; sample ``n`` is seed ``first + n``, the same on every machine."""

    def __init__(self, size: int, first: int, count: int = 0) -> None:
        self.size, self.first, self.count = size, first, count

    def __len__(self) -> int:
        return self.count

    def read(
        self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str] = tuple(FIELDS)
    ) -> dict[str, Tensor]:
        """Render the samples, or compute their labels only when no images are asked for."""
        from facezoo.synth.engine import label_batch, render_batch

        seeds = [self.first + int(n) for n in numbers]
        if "images" not in fields:
            labels = label_batch(seeds, self.size)
            return to_tensors({k: labels[k] for k in fields})
        arrays = render_batch(seeds, self.size)
        check_arrays(arrays)
        return to_tensors({k: arrays[k] for k in fields})

    def sizes(self) -> dict[str, int]:
        """Return the sizes, from one sample's labels."""
        one = self.read([0], LABELS)
        return {
            "points": one["points"].shape[1],
            "n_identity": one["identity"].shape[1],
            "n_expression": one["expression"].shape[1],
            "size": self.size,
        }


class TrainingBatches(IterableDataset[dict[str, Tensor]]):
    """Batches by step number: step s holds the same samples in every run of a seed, whenever it starts.

    That makes resuming exact without saving loader state: a run that goes on at step s asks for batch s. Ranks and
    workers take steps in turn, so no sample is seen twice before all were seen once.
    """

    def __init__(
        self, source: SampleSource, batch_size: int, seed: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.start, self.rank, self.world = start, rank, world
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        step = self.start + (worker.id if worker else 0)
        stride = worker.num_workers if worker else 1
        while True:
            yield self.read_step(step)
            step += stride

    def read_step(self, step: int) -> dict[str, Tensor]:
        """Return this rank's batch of a step."""
        first = (step * self.world + self.rank) * self.batch_size
        return self.source.read(self._numbers(first), tuple(FIELDS))

    def _numbers(self, first: int) -> np.ndarray:
        running = np.arange(first, first + self.batch_size)
        total = len(self.source)
        if not total:
            return running
        epochs, places = running // total, running % total
        return np.concatenate([self._shuffled(int(e))[places[epochs == e]] for e in np.unique(epochs)])

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch, self._order = (
                epoch,
                np.random.default_rng([self.seed, epoch]).permutation(len(self.source)),
            )
        return self._order


class ValidationBatches(Dataset[dict[str, Tensor]]):
    """The held-out samples in order, as batches; kept in memory when rendered, because rendering costs more."""

    def __init__(self, source: SampleSource, count: int, batch_size: int, keep: bool) -> None:
        self.source, self.count, self.batch_size, self.keep = source, count, batch_size, keep
        self._kept: dict[int, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index in self._kept:
            return self._kept[index]
        first = index * self.batch_size
        batch = self.source.read(range(first, min(first + self.batch_size, self.count)), tuple(FIELDS))
        if self.keep:
            self._kept[index] = batch
        return batch


class FaceDataModule:
    """Training and validation data of a run."""

    def __init__(self, config: DataConfig, seed: int) -> None:
        """Open the source.

        Raises:
            AssetError: the shard folder is empty or damaged.
            InputError: fewer samples than are held out.
        """
        self.config, self.seed = config, seed
        self.train: SampleSource
        self.validation: SampleSource
        if config.source == "stream":
            from facezoo.synth import VALIDATION_SEEDS  # here: reading shards must not load the renderer

            if config.validation > len(VALIDATION_SEEDS):
                raise InputError(
                    f"data.validation={config.validation}; the stream reserves {len(VALIDATION_SEEDS)} seeds"
                )
            self.train = SyntheticStream(config.size, FIRST_TRAINING_SEED, config.limit)
            self.validation = SyntheticStream(config.size, VALIDATION_SEEDS.start, config.validation)
            return
        folder = ShardFolder(config.root)
        count = len(folder) - config.validation
        if count < 1:
            raise InputError(
                f"{config.root} holds {len(folder)} samples but data.validation={config.validation} are held out; "
                "render more or lower data.validation"
            )
        self.train = ShardRange(folder, 0, min(count, config.limit) if config.limit else count)
        self.validation = ShardRange(folder, count, config.validation)

    def train_loader(self, start: int = 0, rank: int = 0, world: int = 1) -> DataLoader[dict[str, Tensor]]:
        """Return the endless loader that begins at step ``start``."""
        batches = TrainingBatches(self.train, self.config.batch_size, self.seed, start, rank, world)
        return self._loader(batches)

    def validation_loader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the loader over the held-out samples."""
        keep = self.config.source == "stream"
        data = ValidationBatches(self.validation, self.config.validation, self.config.batch_size, keep)
        return DataLoader(data, batch_size=None, shuffle=False)

    def label_batches(self, count: int, batch_size: int = 256) -> Iterator[dict[str, Tensor]]:
        """Yield labels without images of about ``count`` training samples, for statistics."""
        total = len(self.train) or count
        numbers = np.random.default_rng([self.seed, 2**31]).permutation(total)[:count]
        for first in range(0, len(numbers), batch_size):
            yield self.train.read(numbers[first : first + batch_size], LABELS)

    def _loader(self, data: IterableDataset[dict[str, Tensor]]) -> DataLoader[dict[str, Tensor]]:
        workers = self.config.workers
        return DataLoader(
            data,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context="forkserver" if workers else None,
        )
