"""Predict every picture of a folder once, with any number of processes, and say at the end what did not work.

The first process looks what there is to do and tells the others; each takes every n-th picture, writes its files and,
last of them, its JSON file: the mark that the picture is finished. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from facezoo.detect import load_detector
from facezoo.errors import FacezooError, InputError
from facezoo.models.predict import FaceModel
from facezoo.predicting.launch import MeetingPoint, build_trainer
from facezoo.predicting.ledger import Ledger, Record
from facezoo.predicting.pictures import Picture, find_pictures
from facezoo.predicting.progress import Progress
from facezoo.predicting.task import FolderTask, Loaded, Report, ResultWriter, loader
from facezoo.viz.save import checked_suffixes


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is predicted.

    Attributes:
        formats: files written for each face, as of :meth:`facezoo.types.Prediction.save`.
        detector, fit, batch_size: see :meth:`facezoo.models.predict.FaceModel.predict`.
        boxes: faces by picture, named by its path, its path below the folder or its file name; the detector looks at
            the others.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        devices: processes a machine; None is what torchrun or SLURM started, else 1.
        nodes: machines; None likewise.
        workers: processes that load pictures for each predicting one; 0 loads between batches.
        overwrite: start over.
    """

    formats: tuple[str, ...] = ("glb",)
    detector: str = "auto"
    fit: bool = True
    batch_size: int = 16
    boxes: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    devices: int | None = None
    nodes: int | None = None
    workers: int = 0
    overwrite: bool = False

    def boxes_of(self, folder: Path, name: str) -> Any:
        """Return the boxes given for a picture of a folder, None if there are none."""
        keys = (str(folder / name), name, PurePosixPath(name).name)
        return next((self.boxes[key] for key in keys if key in self.boxes), None)


@dataclass(frozen=True)
class FolderReport:
    """What a run did.

    Attributes:
        pictures: inputs of the folder.
        before: pictures that were finished already.
        predicted: pictures finished by this run.
        faces: faces in them.
        failed: (input, reason) of the others.
        seconds: duration of this run without starting processes.
        manifest: one line a picture.
    """

    pictures: int
    before: int
    predicted: int
    faces: int
    failed: list[tuple[str, str]]
    seconds: float
    manifest: Path


def predict_folder(
    model: FaceModel, folder: Path, out: Path, options: FolderOptions, report: Report | None = None
) -> FolderReport | None:
    """Predict the pictures of a folder and its sub-folders into a folder of the same shape.

    Args:
        model: a loaded model, on the CPU; it is moved to where it runs.
        folder: the pictures.
        out: where files, ``manifest.jsonl`` and the state of the run go.
        options: how.
        report: called with every prediction and its files, in the process that made them.

    Returns:
        What was done, in the first process; None in the others.

    Raises:
        ImageError: the folder holds no picture.
        InputError: an option is wrong, ``out`` holds results of other settings, or it is the folder itself.
        AssetError: the model's head or weights are damaged.
    """
    checked_suffixes(options.formats)
    load_detector(options.detector)
    if options.batch_size < 1 or options.workers < 0:
        raise InputError(
            f"--batch-size must be at least 1 and --workers at least 0, got {options.batch_size}, {options.workers}."
        )
    if out.resolve() == folder.resolve():
        raise InputError(
            f"--out is the folder of pictures itself; give another, e.g. --out {folder / 'out'}."
        )
    ledger = Ledger(out)
    writer = ResultWriter(ledger, options.formats, report)
    trainer = build_trainer(out, options.device, options.devices, options.nodes, [writer])
    shares = Shares(ledger, folder, options, describe_settings(model, options), writer)
    task = FolderTask(model, partial(options.boxes_of, folder), options.detector, options.fit)
    try:
        _run(trainer, task, shares)
        writer.close()
        whole = shares.meeting.wait()
        return shares.conclude(whole) if trainer.is_global_zero else None
    finally:
        ledger.release()


def describe_settings(model: FaceModel, options: FolderOptions) -> dict[str, Any]:
    """Return everything results depend on but the pictures, as JSON values."""
    boxes = json.dumps(dict(options.boxes), sort_keys=True)
    return {
        "model": model.model_id,
        "weights": model.weights_digest(),
        "detector": load_detector(options.detector).name,
        "formats": sorted({name.lower().lstrip(".") for name in options.formats}),
        "fit": options.fit,
        "boxes": hashlib.sha256(boxes.encode()).hexdigest() if options.boxes else None,
    }


class Shares(lightning.LightningDataModule):
    """What there is to do, found by the first process, and each process's part of it."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        options: FolderOptions,
        settings: Mapping[str, Any],
        writer: ResultWriter,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.ledger, self.folder, self.options, self.settings = ledger, folder, options, settings
        self.writer = writer
        self.meeting = MeetingPoint()
        self.refusal: FacezooError | None = None
        self._pictures: list[Picture] = []  # of the folder, in the first process
        self._done: dict[str, Record] = {}
        self._pending: list[Picture] = []
        self._began = time.monotonic()

    def setup(self, stage: str) -> None:
        """Find the pending pictures; where that is refused, all processes have nothing to do."""
        assert self.trainer is not None
        self.meeting.prepare()
        if self.trainer.is_global_zero:
            try:
                self._look()
            except FacezooError as error:
                self.refusal = error
        self._pending = self.trainer.strategy.broadcast(self._pending)
        self._began = time.monotonic()
        if self.trainer.is_global_zero:
            self.writer.progress = Progress(self.ledger, len(self._pending))

    def predict_dataloader(self) -> DataLoader[Loaded]:
        """Return the loader of this process's share."""
        assert self.trainer is not None
        share = self._pending[self.trainer.global_rank :: self.trainer.world_size]
        return loader(self.folder, share, self.options.batch_size, self.options.workers)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave pictures where they are: crops go to the device, photographs do not."""
        return batch

    def conclude(self, whole: bool) -> FolderReport:
        """Merge what all processes wrote.

        Args:
            whole: no process ended early.

        Raises:
            FacezooError: what was refused in :meth:`setup`.
        """
        if self.refusal is not None:
            raise self.refusal
        records = self._done | self.ledger.records()
        self.ledger.write_manifest(
            records[picture.name] for picture in self._pictures if picture.name in records
        )
        lost = (
            "not predicted" if whole else "not predicted: its process ended early; run the same command again"
        )
        failed = []
        for picture in self._pictures:
            record = records.get(picture.name)
            if record is None or record.error is not None:
                failed.append((picture.name, lost if record is None else str(record.error)))
        fresh = [records[picture.name] for picture in self._pending if picture.name in records]
        return FolderReport(
            pictures=len(self._pictures),
            before=len(self._done),
            predicted=sum(record.error is None for record in fresh),
            faces=sum(record.faces for record in fresh),
            failed=failed,
            seconds=time.monotonic() - self._began,
            manifest=self.ledger.out / "manifest.jsonl",
        )

    def _look(self) -> None:
        self._pictures = find_pictures(self.folder, self.ledger.out, self.options.formats)
        self._done = self.ledger.begin(self._pictures, self.settings, self.options.overwrite)
        self._pending = [picture for picture in self._pictures if picture.name not in self._done]
        boxless = sum(self.options.boxes_of(self.folder, picture.name) is None for picture in self._pending)
        if self.options.boxes and boxless:
            print(
                f"facezoo: no boxes for {boxless} of {len(self._pending)} pictures; the detector looks there",
                file=sys.stderr,
            )


def _run(trainer: lightning.Trainer, task: FolderTask, shares: Shares) -> None:
    with warnings.catch_warnings():
        # Nothing to do, or nothing for one process, is no accident here.
        warnings.filterwarnings("ignore", message=".*(does not have many workers|zero|LeafSpec).*")
        try:
            trainer.predict(task, datamodule=shares, return_predictions=False)
        except SystemExit as stopped:
            if isinstance(stopped.__context__, KeyboardInterrupt):  # the trainer turns Ctrl-C into an exit
                raise KeyboardInterrupt from None
            raise
