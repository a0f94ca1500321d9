"""From a data source to an endless, resumable sequence of training batches and a fixed validation set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from facezoo.data.augment import AugmentConfig
from facezoo.data.loading import HeldOutLoader, NumberedBatches, ignore_interrupt, worker_count
from facezoo.data.mixes import Mix, MixPart, check_parts, validating
from facezoo.data.order import EpochOrder
from facezoo.data.shards import FIELDS, ShardFolder, check_arrays, to_tensors
from facezoo.errors import AssetError, InputError, unknown_name

SOURCES = ("stream", "shards", "mix")
LABELS = tuple(name for name in FIELDS if name != "images")
# The stream trains behind the seeds that shards are usually rendered from, and far before the reserved ones.
FIRST_TRAINING_SEED = 1_000_000
KEPT = 2048  # a stream limited to so many samples keeps them in memory
FEWEST_MEASURED = 256  # samples that the network's starting point is measured on, however short the run
FEWEST_VALIDATED = 64  # people that are rendered to validate on, however short the run


@dataclass
class DataConfig:
    """The recipe's ``data`` section.

    Attributes:
        source: ``"stream"`` renders synthetic people on the fly, ``"shards"`` reads a folder of rendered ones,
            ``"mix"`` draws from several of them.
        root: the folder of shards.
        mix: what a mix draws from, e.g. ``[{source: shards, root: FOLDER, weight: 3}, {source: stream, weight: 1}]``.
        size: side of the pictures that the stream renders, and of all pictures of a mix.
        batch_size: samples a step.
        workers: loader processes of each training process; 0 loads in the training process, -1 takes all cores for
            rendering, up to four to feed a GPU from shards, and none to feed a CPU from shards.
        validation: samples held out (the last of the shards, or reserved seeds of the stream; a run whose steps see few
            people renders fewer, see :attr:`FaceDataModule.held_out`).
        limit: use only the first so many training samples; 0 for all.
        statistics: samples measured for the network's starting point; fewer in runs that see few samples.
        augment: training augmentation.
    """

    source: str = "stream"
    root: str = ""
    mix: list[MixPart] = field(default_factory=list)
    size: int = 176
    batch_size: int = 64
    workers: int = -1
    validation: int = 512
    limit: int = 0
    statistics: int = 2048
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown_name("data.source", self.source, SOURCES)
        if self.source == "shards" and not self.root:
            raise InputError("data.source=shards needs data.root=FOLDER with shard-*.safetensors files")
        if self.source == "mix":
            check_parts(self.mix)
            if self.root or self.limit:
                raise InputError(
                    "data.root and data.limit say nothing of a mix; give root and limit in data.mix"
                )
        elif self.mix:
            raise InputError(
                f"data.mix is given but data.source={self.source}; set data.source=mix or data.mix=[]"
            )
        for name, least in (
            ("batch_size", 1),
            ("workers", -1),
            ("validation", 0),
            ("limit", 0),
            ("statistics", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(f"data.{name}={getattr(self, name)}; expected at least {least}")

    @property
    def renders(self) -> bool:
        """True if samples are rendered while training."""
        return self.source == "stream" or any(part.source == "stream" for part in self.mix)


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
    """Synthetic people rendered when asked for; sample ``n`` is seed ``first + n``, the same on every machine.

    A stream of few people (:data:`KEPT`) renders each of them once.
    """

    def __init__(self, size: int, first: int, count: int = 0) -> None:
        self.size, self.first, self.count = size, first, count
        self._kept: dict[int, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return self.count

    def read(
        self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str] = tuple(FIELDS)
    ) -> dict[str, Tensor]:
        """Render the samples, or compute their labels only when no images are asked for."""
        from facezoo.synth.engine import TEST_SEEDS, label_batch

        seeds = [self.first + int(n) for n in numbers]
        if self.first < TEST_SEEDS.start <= max(seeds, default=0):
            raise InputError(
                f"the stream has no people left: seeds from {TEST_SEEDS.start} on are for tests; end the run, or "
                "train on data.source=shards"
            )
        if "images" not in fields:
            labels = label_batch(seeds, self.size)
            return to_tensors({k: labels[k] for k in fields})
        if not 0 < self.count <= KEPT:
            batch = self._render(seeds)
            return {k: batch[k] for k in fields}
        missing = sorted(set(seeds) - self._kept.keys())
        if missing:
            fresh = self._render(missing)
            self._kept |= {seed: {k: v[i] for k, v in fresh.items()} for i, seed in enumerate(missing)}
        return {k: torch.stack([self._kept[seed][k] for seed in seeds]) for k in fields}

    def sizes(self) -> dict[str, int]:
        """Return the sizes, from one sample's labels."""
        one = self.read([0], LABELS)
        return {
            "points": one["points"].shape[1],
            "n_identity": one["identity"].shape[1],
            "n_expression": one["expression"].shape[1],
            "size": self.size,
        }

    def _render(self, seeds: Sequence[int]) -> dict[str, Tensor]:
        from facezoo.synth.engine import render_batch

        arrays = render_batch(seeds, self.size)
        check_arrays(arrays)
        return to_tensors(arrays)


class TrainingBatches(IterableDataset[dict[str, Tensor]]):
    """Batches by step number: step s holds the same samples in every run of a seed, whenever it starts.

    That makes resuming exact without saving loader state: a run that goes on at step s asks for batch s. Ranks and
    workers take steps in turn, so no sample is seen twice before all were seen once.
    """

    def __init__(
        self,
        source: SampleSource,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        *,
        stop: int = 0,
        seen: int | None = None,
    ) -> None:
        """Number the batches of a run.

        Args:
            source: samples by number.
            batch_size: samples a step and rank.
            seed: of the order.
            start: the first step.
            rank: of this process.
            world: number of processes.
            stop: end of the run, 0 for none. Loaders fetch ahead; from here on they get empty batches, which cost
                nothing.
            seen: samples that all ranks together saw before ``start``; by default as many as ``start`` steps of this
                size hold. A run that goes on with another batch size or another number of processes neither repeats nor
                leaves out samples when it is told.
        """
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.start, self.rank, self.world, self.stop = start, rank, world, stop
        self.seen = start * world * batch_size if seen is None else seen
        self._order = EpochOrder(len(source), (seed,))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        step = self.start + (worker.id if worker else 0)
        stride = worker.num_workers if worker else 1
        while True:
            yield {} if 0 < self.stop <= step else self.read_step(step)
            step += stride

    def read_step(self, step: int, rank: int | None = None) -> dict[str, Tensor]:
        """Return the batch of a step, this rank's or another's."""
        place = (step - self.start) * self.world + (self.rank if rank is None else rank)
        first = self.seen + place * self.batch_size
        return self.source.read(self._order(np.arange(first, first + self.batch_size)), tuple(FIELDS))


class FaceDataModule:
    """Training and validation data of a run."""

    def __init__(self, config: DataConfig, seed: int, *, processes: int = 1, planned: int = 0) -> None:
        """Open the source.

        Args:
            config: the recipe's section.
            seed: of the order.
            processes: training processes that share this machine.
            planned: samples that the run will see, 0 if unknown.

        Raises:
            AssetError: the shard folder is empty or damaged, or a mix holds data of different heads.
            InputError: fewer samples than are held out.
        """
        self.config, self.seed, self.planned = config, seed, planned
        self.workers = worker_count(config.workers, renders=config.renders, processes=processes)
        self.train: SampleSource
        self.validation: SampleSource
        self.head_id = "open-v1"  # of the head whose parameters and points the samples carry
        self._keep = config.source == "stream"
        if config.source == "mix":
            self._open_mix()
            return
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
        self.head_id = str(folder.meta.get("head_id", ""))
        count = len(folder) - config.validation
        if count < 1:
            raise InputError(
                f"{config.root} holds {len(folder)} samples but data.validation={config.validation} are held out; "
                "render more or lower data.validation"
            )
        self.train = ShardRange(folder, 0, min(count, config.limit) if config.limit else count)
        self.validation = ShardRange(folder, count, config.validation)

    def train_loader(
        self, start: int = 0, rank: int = 0, world: int = 1, *, stop: int = 0, seen: int | None = None
    ) -> DataLoader[dict[str, Tensor]]:
        """Return the endless loader that begins at step ``start``; arguments as of :class:`TrainingBatches`."""
        size = self.config.batch_size
        return self._loader(
            TrainingBatches(self.train, size, self.seed, start, rank, world, stop=stop, seen=seen)
        )

    @property
    def held_out(self) -> int:
        """Number of samples to validate on: ``data.validation``, or less where they are rendered for a short run.

        A run that is planned to see N people renders N / 16 of those to validate on, no fewer than 64: rendering them
        must not take longer than the training.
        """
        count = self.config.validation
        return min(count, max(FEWEST_VALIDATED, self.planned // 16)) if self._keep and self.planned else count

    def validation_loader(self, rank: int = 0, world: int = 1) -> HeldOutLoader:
        """Return the loader over one process's share of the held-out samples.

        Raises:
            InputError: there are fewer samples than processes.
        """
        count = self.held_out
        if count < world:
            raise InputError(f"data.validation={count} leaves some of {world} processes without; raise it")
        return HeldOutLoader(
            self.validation,
            count,
            self.config.batch_size,
            keep=self._keep,
            workers=self.workers if self._keep else 0,
            rank=rank,
            world=world,
        )

    def label_batches(self, count: int, batch_size: int = 256) -> Iterator[dict[str, Tensor]]:
        """Yield labels without images of about ``count`` training samples, for statistics.

        A run that is planned to see few samples measures a quarter of them: what it starts from need not be better
        known than what it learns. Labels of more than a thousand rendered people are computed by the workers.

        Raises:
            AssetError: a label is not finite; names the field and the sample.
        """
        if self.planned:
            count = min(count, max(FEWEST_MEASURED, self.planned // 4))
        total = len(self.train) or count
        numbers = np.random.default_rng([self.seed, 2**31]).permutation(total)[:count]
        parts = [numbers[i : i + batch_size] for i in range(0, len(numbers), batch_size)]
        workers = self.workers if self.config.renders and len(numbers) > 1024 else 0
        for batch in NumberedBatches(self.train, parts, LABELS).in_order(workers):
            check_labels(batch)
            yield batch

    def _open_mix(self) -> None:
        """Open every entry as a data set of its own; one of them holds samples out."""
        config, chosen = self.config, validating(self.config.mix)
        parts = []
        for number, part in enumerate(config.mix):
            held_out = config.validation if number == chosen else 0
            alone = replace(
                config, source=part.source, root=part.root, limit=part.limit, mix=[], validation=held_out
            )
            parts.append(FaceDataModule(alone, self.seed))
            if parts[-1].head_id != parts[0].head_id:
                raise AssetError(
                    f"data.mix[{number}] shows head {parts[-1].head_id!r} but data.mix[0] head {parts[0].head_id!r}; "
                    "mix data of one head"
                )
        self.head_id, self._keep = parts[0].head_id, parts[chosen]._keep
        self.validation = parts[chosen].validation
        self.train = Mix([p.train for p in parts], [p.weight for p in config.mix], self.seed, config.size)

    def _loader(self, data: IterableDataset[dict[str, Tensor]]) -> DataLoader[dict[str, Tensor]]:
        workers = self.workers
        return DataLoader(
            data,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=(2 if self.config.renders else 4) if workers else None,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context="forkserver" if workers else None,
            worker_init_fn=ignore_interrupt,
        )


def check_labels(batch: dict[str, Tensor]) -> None:
    """Raise an AssetError that names the first field and sample whose values are not finite."""
    for name, values in batch.items():
        bad = ~values.isfinite().flatten(1).all(1) if values.dim() > 1 else ~values.isfinite()
        if bad.any():
            raise AssetError(
                f"{name} of sample {int(batch['seed'][bad][0])} is not finite; write its shard again without it"
            )
