"""From a data source to an endless, resumable sequence of training batches and a fixed validation set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from facezoo.checks import check_least, check_names
from facezoo.data.augment import AugmentConfig
from facezoo.data.loading import HeldOutLoader, NumberedBatches, ignore_interrupt, worker_count
from facezoo.data.mixes import Mix, MixPart, check_parts, validating
from facezoo.data.order import hold_out, order_of
from facezoo.data.photograph_folder import PhotographFolder
from facezoo.data.shards import ShardFolder
from facezoo.data.sources import ALL, LABELS, SampleSource, SomeRows, SyntheticStream
from facezoo.errors import AssetError, InputError

SOURCES = ("stream", "shards", "photographs", "mix")
# The stream trains behind the seeds that shards are usually rendered from, and far before the reserved ones.
FIRST_TRAINING_SEED = 1_000_000
FEWEST_MEASURED = 256  # samples that the network's starting point is measured on, however short the run
FEWEST_VALIDATED = 64  # people that are rendered to validate on, however short the run


@dataclass
class DataConfig:
    """The recipe's ``data`` section.

    Attributes:
        source: ``"stream"`` renders synthetic people on the fly, ``"shards"`` reads a folder of rendered ones,
            ``"photographs"`` a data set that :mod:`facezoo.data.label_photographs` has labelled, ``"mix"`` draws from
            several of them.
        root: the folder of shards or photographs.
        labels: the photographs' label file, by default ``labels.safetensors`` in their folder.
        mix: what a mix draws from, e.g. ``[{source: shards, root: FOLDER, weight: 3}, {source: stream, weight: 1}]``.
        size: side of the pictures that the stream renders, that photographs are cut to, and of all pictures of a mix.
        relief: the stream renders people with wrinkles, and their displacement; a fifth slower (118 and 94 ms).
        batch_size: samples a step.
        pictures: neighbouring samples of a batch that show one person; the batch size is a multiple of it.
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
    labels: str = ""
    mix: list[MixPart] = field(default_factory=list)
    size: int = 176
    relief: bool = False
    batch_size: int = 64
    pictures: int = 1
    workers: int = -1
    validation: int = 512
    limit: int = 0
    statistics: int = 2048
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_names("data", self, source=SOURCES)
        if self.source == "shards" and not self.root:
            raise InputError("data.source=shards needs data.root=FOLDER with shard-*.safetensors files")
        if self.source == "photographs" and not self.root:
            raise InputError("data.source=photographs needs data.root=FOLDER of a labelled data set")
        if self.labels and self.source != "photographs":
            raise InputError(f"data.labels belongs to data.source=photographs, not to {self.source}")
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
        check_least("data", self, batch_size=1, pictures=1, workers=-1, validation=0, limit=0, statistics=1)
        if self.relief and not self.renders:
            raise InputError(
                "data.relief=true says how the stream renders; shards have what they were rendered with "
                "('python -m facezoo.synth shards FOLDER --relief --pictures 4'): set data.relief=false"
            )
        if self.pictures > 1 and self.renders and not self.relief:
            raise InputError(
                f"data.pictures={self.pictures}, but without relief every picture of the stream is another person; "
                "set data.relief=true"
            )
        if self.batch_size % self.pictures:
            raise InputError(
                f"data.batch_size={self.batch_size} is no multiple of data.pictures={self.pictures}; "
                f"set data.batch_size={max(1, round(self.batch_size / self.pictures)) * self.pictures}"
            )

    @property
    def heavy(self) -> bool:
        """True if a sample costs so much that loader processes pay: it is rendered, or a picture is decoded."""
        sources = {self.source, *(part.source for part in self.mix)}
        return bool(sources & {"stream", "photographs"})

    @property
    def renders(self) -> bool:
        """True if samples are rendered while training."""
        return self.source == "stream" or any(part.source == "stream" for part in self.mix)


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
        pictures: int = 1,
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
            pictures: neighbouring samples that show one person; ``batch_size`` is a multiple of it.
        """
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.start, self.rank, self.world, self.stop = start, rank, world, stop
        self.seen = start * world * batch_size if seen is None else -(-seen // pictures) * pictures
        self._order = order_of(source, pictures, (seed,))

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
        return self.source.read(self._order(np.arange(first, first + self.batch_size)), ALL)


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
        self.workers = worker_count(config.workers, renders=config.heavy, processes=processes)
        self.train: SampleSource
        self.validation: SampleSource
        self.head_id = "open-v1"  # of the head whose parameters and points the samples carry
        self._keep = config.heavy  # held-out samples stay in memory
        self._rendered = config.source == "stream"  # and are made for this run
        if config.source == "mix":
            self._open_mix()
            return
        if config.source == "stream":
            from facezoo.synth import VALIDATION_SEEDS  # here: reading shards must not load the renderer

            if config.validation > len(VALIDATION_SEEDS):
                raise InputError(
                    f"data.validation={config.validation}; the stream reserves {len(VALIDATION_SEEDS)} seeds"
                )
            relief = config.relief
            self.train = SyntheticStream(
                config.size, FIRST_TRAINING_SEED, config.limit, relief=relief, pictures=config.pictures
            )
            self.validation = SyntheticStream(
                config.size, VALIDATION_SEEDS.start, config.validation, relief=relief
            )
            return
        if config.source == "photographs":
            self._open_folder(PhotographFolder(config.root, config.size, config.labels))
        else:
            self._open_folder(ShardFolder(config.root))

    def train_loader(
        self, start: int = 0, rank: int = 0, world: int = 1, *, stop: int = 0, seen: int | None = None
    ) -> DataLoader[dict[str, Tensor]]:
        """Return the endless loader that begins at step ``start``; arguments as of :class:`TrainingBatches`."""
        size = self.config.batch_size
        return self._loader(
            TrainingBatches(
                self.train,
                size,
                self.seed,
                start,
                rank,
                world,
                stop=stop,
                seen=seen,
                pictures=self.config.pictures,
            )
        )

    @property
    def held_out(self) -> int:
        """Number of samples to validate on: ``data.validation``, or less where they are rendered for a short run.

        A run that is planned to see N people renders N / 16 of those to validate on, no fewer than 64: rendering them
        must not take longer than the training.
        """
        count = self.config.validation
        return (
            min(count, max(FEWEST_VALIDATED, self.planned // 16))
            if self._rendered and self.planned
            else count
        )

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

    def label_batches(
        self, count: int, batch_size: int = 256, optional: Sequence[str] = ()
    ) -> Iterator[dict[str, Tensor]]:
        """Yield labels without images of about ``count`` training samples, for statistics.

        ``optional`` names fields of :data:`~facezoo.data.shards.OPTIONAL` that are wanted where the data has them.

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
        for batch in NumberedBatches(self.train, parts, (*LABELS, *optional)).in_order(workers):
            check_labels(batch)
            yield batch

    def _open_folder(self, folder: ShardFolder | PhotographFolder) -> None:
        """Share a folder's samples out to training and validation, whole people to either."""
        config = self.config
        self.head_id = str(folder.meta.get("head_id", ""))
        if len(folder) <= config.validation:
            raise InputError(
                f"{config.root} holds {len(folder)} samples but data.validation={config.validation} are held out; "
                "render more or lower data.validation"
            )
        rows, held_out = hold_out(len(folder), config.validation, folder.persons())
        if not len(rows):
            raise InputError(
                f"data.validation={config.validation} holds out everybody in {config.root}; people are held out whole: "
                "lower it, or add people"
            )
        self.train = SomeRows(folder, rows[: config.limit or None])
        self.validation = SomeRows(folder, held_out)
        try:
            order_of(self.train, config.pictures, (self.seed,))
        except InputError as error:
            raise InputError(
                f"data.pictures={config.pictures} pictures of one person cannot be had from {config.root}: {error}; "
                "give data whose people are known (docs/data_mixes.md), or data.pictures=1 loss.pictures=1"
            ) from error

    def _open_mix(self) -> None:
        """Open every entry as a data set of its own; one of them holds samples out."""
        config, chosen = self.config, validating(self.config.mix)
        parts = []
        for number, part in enumerate(config.mix):
            held_out = config.validation if number == chosen else 0
            alone = replace(
                config,
                source=part.source,
                root=part.root,
                labels=part.labels,
                limit=part.limit,
                mix=[],
                validation=held_out,
                relief=config.relief and part.source == "stream",
            )
            parts.append(FaceDataModule(alone, self.seed))
            if parts[-1].head_id != parts[0].head_id:
                raise AssetError(
                    f"data.mix[{number}] shows head {parts[-1].head_id!r} but data.mix[0] head {parts[0].head_id!r}; "
                    "mix data of one head"
                )
        self.head_id, self._keep = parts[0].head_id, parts[chosen]._keep
        self._rendered = parts[chosen]._rendered
        self.validation = parts[chosen].validation
        self.train = Mix(
            [p.train for p in parts], [p.weight for p in config.mix], self.seed, config.size, config.pictures
        )

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
