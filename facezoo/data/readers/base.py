"""What a dataset of annotated faces is to the rest of facezoo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from facezoo.errors import AssetError


@dataclass(frozen=True)
class FaceSample:
    """One annotated face.

    Attributes:
        path: the picture.
        labels: label set -> (68, 2) iBUG points in pixels, pixel centres at .5.
        box: (4,) x0, y0, x1, y1 tight around the first label set.
        yaw_deg: the head's yaw in degrees if the dataset gives it.
        person: number of the person shown if the dataset gives it, else -1.
    """

    path: Path
    labels: Mapping[str, Tensor]
    box: Tensor
    yaw_deg: float | None = None
    person: int = -1


@dataclass(frozen=True)
class ReaderInfo:
    """Where a dataset comes from and what its points mean.

    Attributes:
        licence: terms, in words.
        url: home page.
        landmarks: which of a model's landmark sets follows the same convention.
        note: what a reader of a result must know.
    """

    licence: str
    url: str
    landmarks: str
    note: str


class Reader(Protocol):
    """A dataset as a sequence of faces."""

    @property
    def info(self) -> ReaderInfo:
        """Provenance."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> FaceSample: ...


def read_annotations(folder: Path, name: str = "landmarks.json") -> dict[str, Any]:
    """Read a dataset's annotation file.

    Raises:
        AssetError: it is missing or not a JSON table.
    """
    path = folder / name
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AssetError(
            f"{folder} does not hold this dataset: {path} is missing; point root= at its folder."
        ) from error
    except ValueError as error:
        raise AssetError(f"{path} is not JSON: {error}.") from error
    if not isinstance(table, dict):
        raise AssetError(
            f"{path} must hold a table from file name to annotation, got {type(table).__name__}."
        )
    return table


def points68(values: Any, shift: float, owner: str) -> Tensor:
    """Check 68 annotated points and move them to pixel centres at .5.

    Args:
        values: 68 rows of at least x, y.
        shift: what to add to the file's coordinates: 0.5 if its pixels count from 0, -0.5 if from 1.
        owner: named in the error.

    Raises:
        AssetError: not 68 finite points.
    """
    try:
        points = torch.tensor(values, dtype=torch.float32)[:, :2]
    except (TypeError, ValueError, IndexError) as error:
        raise AssetError(f"{owner} does not hold 68 points: {error}.") from error
    if points.shape != (68, 2) or not bool(torch.isfinite(points).all()):
        raise AssetError(f"{owner} must hold 68 finite points, got shape {tuple(points.shape)}.")
    return points + shift
