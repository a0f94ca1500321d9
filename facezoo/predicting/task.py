"""Folder prediction as a trainer sees it: a share of the pictures, a step that predicts them, a writer of results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, Dataset

from facezoo.data.images import LoadedImage, load_image
from facezoo.errors import AssetError, FacezooError
from facezoo.models.predict import FaceModel
from facezoo.predicting.ledger import Journal, Ledger, Record
from facezoo.predicting.pictures import Picture
from facezoo.predicting.progress import Progress
from facezoo.types import Prediction

Report = Callable[[Prediction, Sequence[Path]], None]


class Loaded(NamedTuple):
    """A picture from disk, or what is wrong with it."""

    picture: Picture
    image: LoadedImage | None
    error: str | None
    seconds: float


class Outcome(NamedTuple):
    """A predicted picture, or what went wrong."""

    picture: Picture
    prediction: Prediction | None
    error: str | None
    seconds: float


class PictureFiles(Dataset[Loaded]):
    """Pictures by number; one that cannot be read is an item as well."""

    def __init__(self, folder: Path, pictures: Sequence[Picture]) -> None:
        self.folder, self.pictures = folder, pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Loaded:
        picture, began = self.pictures[index], time.monotonic()
        try:
            image, error = load_image(self.folder / picture.name), None
        except Exception as raised:  # decoders meet damage that nobody thought of
            image, error = None, describe(raised)
        return Loaded(picture, image, error, time.monotonic() - began)


def loader(folder: Path, pictures: Sequence[Picture], batch_size: int, workers: int) -> DataLoader[Loaded]:
    """Build the loader of one process's pictures; a batch is a list of them."""
    return DataLoader(
        PictureFiles(folder, pictures),
        batch_size=batch_size,
        shuffle=False,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context="forkserver" if workers else None,
    )


class FolderTask(lightning.LightningModule):
    """Predict batches of loaded pictures; a picture that fails costs its batch a second try and nobody else."""

    def __init__(
        self,
        model: FaceModel,
        boxes: Callable[[str], Any],
        detector: str,
        fit: bool,
    ) -> None:
        """Wrap a model.

        Args:
            model: a loaded model.
            boxes: from a picture's name to its faces' boxes, None where the detector should look.
            detector: see :meth:`FaceModel.predict`.
            fit: see :meth:`FaceModel.predict`.
        """
        super().__init__()
        self.model, self.boxes, self.detector, self.fit = model, boxes, detector, fit

    def predict_step(self, batch: list[Loaded], batch_idx: int = 0) -> list[Outcome]:
        """Return an outcome a picture, in order."""
        good = [item for item in batch if item.image is not None]
        found = iter(self._together(good))
        return [
            Outcome(item.picture, None, item.error, item.seconds) if item.image is None else next(found)
            for item in batch
        ]

    def _together(self, items: list[Loaded]) -> list[Outcome]:
        if not items:
            return []
        began = time.monotonic()
        try:
            predictions = self.model.predict(
                [item.image for item in items],
                boxes=[self.boxes(item.picture.name) for item in items],
                detector=self.detector,
                batch_size=len(items),
                fit=self.fit,
            )
        except AssetError:
            raise  # the installation is damaged: no picture will do better
        except Exception as raised:
            if len(items) > 1:
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                return [outcome for item in items for outcome in self._together([item])]
            taken = items[0].seconds + time.monotonic() - began
            return [Outcome(items[0].picture, None, describe(raised), taken)]
        share = (time.monotonic() - began) / len(items)
        return [
            Outcome(item.picture, prediction, None, item.seconds + share)
            for item, prediction in zip(items, predictions, strict=True)
        ]


class ResultWriter(BasePredictionWriter):
    """Write each picture's files and record as soon as its batch is predicted; every process writes its own."""

    def __init__(self, ledger: Ledger, formats: Sequence[str], report: Report | None = None) -> None:
        super().__init__(write_interval="batch")
        self.ledger, self.formats, self.report = ledger, formats, report
        self.progress: Progress | None = None
        self._journal: Journal | None = None

    def write_on_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        prediction: Sequence[Outcome],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the outcomes of one batch."""
        if self._journal is None:
            self._journal = Journal(self.ledger, trainer.global_rank)
        for outcome in prediction:
            self._journal.add(self._write(outcome, self._journal))
            if self.progress is not None:
                self.progress.tick()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Close the journal."""
        self.close()

    def close(self) -> None:
        """Close the journal; the others may read it."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _write(self, outcome: Outcome, journal: Journal) -> Record:
        picture, began = outcome.picture, time.monotonic()
        if outcome.prediction is None:
            return Record(picture.name, picture.size, seconds=_round(outcome.seconds), error=outcome.error)
        try:
            stem = PurePosixPath(picture.stem).name
            files = outcome.prediction.save(journal.work, stem, self.formats)
            outputs = journal.publish(picture, files)
        except Exception as raised:
            seconds = _round(outcome.seconds + time.monotonic() - began)
            return Record(picture.name, picture.size, seconds=seconds, error=describe(raised))
        if self.report is not None:
            self.report(outcome.prediction, [self.ledger.out / name for name in outputs])
        seconds = _round(outcome.seconds + time.monotonic() - began)
        return Record(picture.name, picture.size, outputs, len(outcome.prediction), seconds)


def describe(error: Exception) -> str:
    """Say what went wrong in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, FacezooError) and text else f"{type(error).__name__}: {text}"


def _round(seconds: float) -> float:
    return round(seconds, 4)
