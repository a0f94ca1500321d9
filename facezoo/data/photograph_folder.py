"""Labelled photographs as samples: the pictures stay where and as they are, faces are cut out when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.data.cut import cut_face, sample_affine
from facezoo.data.images import load_image
from facezoo.data.photo_labels import COMMAND, FILE, PhotoLabels
from facezoo.data.shards import FIELDS, OPTIONAL, to_tensors
from facezoo.errors import AssetError
from facezoo.geometry.crop import apply_affine, tight_box, to_homogeneous_affine


class PhotographFolder:
    """A data set of photographs with the labels that :mod:`facezoo.data.label_photographs` wrote.

    Attributes:
        root: folder of the data set.
        meta: what the label file says of itself.
        size: side of the samples' pictures.
        optional: fields of :data:`~facezoo.data.shards.OPTIONAL` that the samples have.
    """

    optional = ("person",)

    def __init__(self, root: str | Path, size: int, labels: str | Path = "") -> None:
        """Open the labels.

        Args:
            root: folder of the data set.
            size: side of the samples' pictures in pixels.
            labels: the label file, by default ``labels.safetensors`` in the folder.

        Raises:
            AssetError: it is missing or damaged, or the photographs it names are elsewhere; names the command.
        """
        self.root, self.size = Path(root).expanduser(), size
        path = Path(labels).expanduser() if labels else self.root / FILE
        if not path.is_file():
            raise AssetError(
                f"there are no labels {path}; '{COMMAND} root={self.root} out={path}' writes them once"
            )
        self.labels = PhotoLabels(path)
        self.meta = self.labels.meta
        if not (first := self.root / self.labels.name(0)).is_file():
            raise AssetError(
                f"{path} names {first}, which does not exist; point root= at the folder that it was made of"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def sizes(self) -> dict[str, int]:
        """Return points, n_identity, n_expression and size."""
        return {**self.labels.sizes(), "size": self.size}

    def persons(self) -> NDArray[np.int64]:
        """Return the person (N,) of each photograph."""
        return self.labels.persons()

    def read(
        self, rows: Sequence[int] | NDArray, fields: Sequence[str] = (*FIELDS, *OPTIONAL)
    ) -> dict[str, Tensor]:
        """Return samples by number; ``seed`` is the number. Without ``images`` among the fields no picture is opened.

        Raises:
            ImageError: a picture is missing or unreadable.
        """
        rows = np.asarray(rows, np.int64)
        labels = self.labels.read(rows)
        boxes = tight_box(labels.lm68)
        affine = sample_affine(boxes, self.size)
        batch = {**labels._asdict(), "seed": torch.from_numpy(rows)}
        for name in ("points", "lm68", "lm68_contour"):
            batch[name] = apply_affine(batch[name], affine)
        batch["box"] = tight_box(batch["lm68"])
        batch["K"] = to_homogeneous_affine(affine) @ labels.K
        batch["person"] = self.labels.arrays["person"][torch.from_numpy(rows)]
        if "images" in fields:
            batch["images"] = torch.stack([
                cut_face(load_image(self.root / self.labels.name(int(row))).pixels, box, self.size)
                for row, box in zip(rows, boxes, strict=True)
            ])  # fmt: skip
        return to_tensors({name: batch[name] for name in fields if name in batch})
