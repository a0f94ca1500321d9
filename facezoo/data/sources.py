"""Where samples come from: people rendered when asked for, or files on disk; all behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from facezoo.data.shards import FIELDS, OPTIONAL, check_arrays, to_tensors
from facezoo.errors import InputError

LABELS = tuple(name for name in FIELDS if name != "images")
ALL = (*FIELDS, *OPTIONAL)
KEPT = 2048  # a stream limited to so many samples keeps them in memory


class SampleSource(Protocol):
    """Samples by number."""

    def __len__(self) -> int:
        """Return the number of samples; 0 means endless."""

    def read(self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str]) -> dict[str, Tensor]:
        """Return a batch of sample arrays as tensors."""

    def sizes(self) -> dict[str, int]:
        """Return points, n_identity, n_expression and size (image side)."""

    def persons(self) -> np.ndarray | None:
        """Return the number of each sample's person (N,), -1 for unknown; None if nobody is known or N is endless."""


class Folder(Protocol):
    """Samples on disk: shards, or labelled photographs."""

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int] | np.ndarray, fields: Sequence[str]) -> dict[str, Tensor]:
        """Return a batch of sample arrays as tensors, without optional fields that the folder lacks."""

    def sizes(self) -> dict[str, int]:
        """Return points, n_identity, n_expression and size (image side)."""

    def persons(self) -> np.ndarray | None:
        """Return the number of each sample's person (N,), -1 for unknown, or None if nobody is known."""


class SomeRows:
    """Some samples of a folder."""

    def __init__(self, folder: Folder, rows: np.ndarray) -> None:
        self.folder, self.rows = folder, rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str] = ALL) -> dict[str, Tensor]:
        """Return the samples at these places of ``rows``."""
        return self.folder.read(self.rows[np.asarray(numbers, np.int64)], fields)

    def sizes(self) -> dict[str, int]:
        """Return the sizes that the files have."""
        return self.folder.sizes()

    def persons(self) -> np.ndarray | None:
        """Return the person of each of these samples."""
        persons = self.folder.persons()
        return None if persons is None else persons[self.rows]


class SyntheticStream:
    """Synthetic people rendered when asked for; sample ``n`` is seed ``first + n``, the same on every machine.

    A stream of few people (:data:`KEPT`) renders each of them once.
    """

    def __init__(
        self, size: int, first: int, count: int = 0, *, relief: bool = False, pictures: int = 1
    ) -> None:
        """Begin a stream.

        Args:
            size: side of the pictures.
            first: the seed to begin at; the next one at which a person's pictures begin is taken.
            count: number of samples, 0 for no end.
            relief: render skin with its own geometry, and its displacement.
            pictures: with relief, neighbouring samples that show one person.
        """
        self.size, self.count = size, count
        self.first = -(-first // pictures) * pictures
        self.relief, self.pictures = relief, pictures
        self._kept: dict[int, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return self.count

    def read(self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str] = ALL) -> dict[str, Tensor]:
        """Render the samples, or compute labels of people like them when nothing is asked for that needs a picture."""
        from facezoo.synth.engine import TEST_SEEDS, label_batch

        seeds = [self.first + int(n) for n in numbers]
        if self.first < TEST_SEEDS.start <= max(seeds, default=0):
            raise InputError(
                f"the stream has no people left: seeds from {TEST_SEEDS.start} on are for tests; end the run, or "
                "train on data.source=shards"
            )
        if "images" not in fields and not (self.relief and set(fields) & OPTIONAL.keys()):
            labels = label_batch(seeds, self.size)
            return to_tensors(_chosen(labels, fields))
        if not 0 < self.count <= KEPT:
            return _chosen(self._render(seeds), fields)
        missing = sorted(set(seeds) - self._kept.keys())
        if missing:
            fresh = self._render(missing)
            self._kept |= {seed: {k: v[i] for k, v in fresh.items()} for i, seed in enumerate(missing)}
        return {
            k: torch.stack([self._kept[seed][k] for seed in seeds])
            for k in _chosen(self._kept[seeds[0]], fields)
        }

    def sizes(self) -> dict[str, int]:
        """Return the sizes, from one sample's labels."""
        one = self.read([0], LABELS)
        return {
            "points": one["points"].shape[1],
            "n_identity": one["identity"].shape[1],
            "n_expression": one["expression"].shape[1],
            "size": self.size,
        }

    def persons(self) -> np.ndarray | None:
        """Return the person of each sample of a stream that ends."""
        if not (self.relief and self.count):
            return None
        return (self.first + np.arange(self.count)) // self.pictures

    def _render(self, seeds: Sequence[int]) -> dict[str, Tensor]:
        from facezoo.synth.engine import render_batch

        more: dict[str, Any] = {"relief": True, "pictures": self.pictures} if self.relief else {}
        arrays = render_batch(seeds, self.size, **more)
        check_arrays(arrays)
        return to_tensors(arrays)


def _chosen(arrays: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Return the asked fields; optional ones may be missing."""
    return {k: arrays[k] for k in fields if k not in OPTIONAL or k in arrays}
