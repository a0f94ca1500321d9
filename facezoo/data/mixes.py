"""Several sources of samples as one, each drawn as often as its weight says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from facezoo.data.order import order_of
from facezoo.data.shards import FIELDS, OPTIONAL
from facezoo.errors import AssetError, InputError, unknown_name
from facezoo.geometry.crop import warp

if TYPE_CHECKING:
    from facezoo.data.sources import SampleSource

PART_SOURCES = ("stream", "shards", "photographs")
# Samples are dealt in rounds: in each, every source has a fixed number of them, in an order of their own.
_ROUND = 4096
# What a sample of a source without the field has in a batch of sources of which some have it.
_UNKNOWN = {"displacement": 0, "person": -1, "skin": 255}
_IN_PIXELS = ("points", "lm68", "lm68_contour", "box")


@dataclass
class MixPart:
    """One entry of the recipe's ``data.mix`` list.

    Attributes:
        source: ``"stream"``, ``"shards"`` or ``"photographs"``, as ``data.source``.
        root: the folder of shards or photographs.
        weight: how often its samples are drawn, against the other entries' weights.
        limit: use only the first so many samples; 0 for all.
        validate: hold out ``data.validation`` samples of this entry; by default of the first.
        labels: the photographs' label file, by default in their folder.
    """

    source: str = ""
    root: str = ""
    weight: float = 1.0
    limit: int = 0
    validate: bool = False
    labels: str = ""


def check_parts(parts: Sequence[MixPart]) -> None:
    """Check a ``data.mix`` list before anything is opened.

    Raises:
        UnknownNameError: an entry's source.
        InputError: an empty list, a weight that is not positive, a missing or repeated source, two held-out entries.
    """
    if not parts:
        raise InputError("data.source=mix needs data.mix=[{source: stream, weight: 1}, ...]")
    seen: dict[tuple[str, str], int] = {}
    for number, part in enumerate(parts):
        name = f"data.mix[{number}]"
        if part.source not in PART_SOURCES:
            raise unknown_name(f"{name}.source", part.source, PART_SOURCES)
        if part.source != "stream" and not part.root:
            kind = "with shard-*.safetensors files" if part.source == "shards" else "of a labelled data set"
            raise InputError(f"{name} needs root: FOLDER {kind}")
        if part.labels and part.source != "photographs":
            raise InputError(f"{name}.labels belongs to source: photographs, not to {part.source}")
        if not (math.isfinite(part.weight) and part.weight > 0):
            raise InputError(
                f"{name}.weight must be positive, got {part.weight}; leave the entry out instead"
            )
        if part.limit < 0:
            raise InputError(f"{name}.limit must be at least 0, got {part.limit}")
        identity = (
            part.source,
            str(Path(part.root).expanduser().resolve()) if part.source != "stream" else "",
        )
        if identity in seen:
            raise InputError(
                f"{name} and data.mix[{seen[identity]}] are the same samples; keep one and add their weights"
            )
        seen[identity] = number
    if len(chosen := [number for number, part in enumerate(parts) if part.validate]) > 1:
        raise InputError(f"validate: true stands in {len(chosen)} entries of data.mix; keep one")


def validating(parts: Sequence[MixPart]) -> int:
    """Return the number of the entry that validation samples come from."""
    return next((number for number, part in enumerate(parts) if part.validate), 0)


def tickets(weights: Sequence[float], total: int = _ROUND) -> np.ndarray:
    """Share ``total`` out by weights: whole tickets, at least one each, the rest by largest remainder.

    Args:
        weights: (K,) positive.
        total: at least K.

    Returns:
        (K,) int64 with sum ``total``.
    """
    share = np.asarray(weights, np.float64) / np.sum(weights) * (total - len(weights))
    counts = np.floor(share).astype(np.int64)
    rest = total - len(weights) - int(counts.sum())
    counts[np.argsort(counts - share, kind="stable")[:rest]] += 1
    return counts + 1


class Mix:
    """Samples of several sources by one endless number.

    Which source number n comes from, and which of its samples it is, follows from the seed and n alone. So a resumed
    run, another loader process or another rank asks for its numbers and neither repeats nor leaves out a sample: each
    source is passed through whole before one of its samples comes again.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        weights: Sequence[float],
        seed: int,
        size: int,
        pictures: int = 1,
    ) -> None:
        """Mix sources.

        Args:
            sources: where samples come from.
            weights: of each; only their ratios count, to 1 in 4096.
            seed: of the draw.
            size: side of all pictures in pixels; others are scaled, their labels with them.
            pictures: neighbouring samples that show one person and so come from one source.
        """
        self.sources, self.seed, self.size, self.pictures = list(sources), seed, size, pictures
        self.tickets = tickets(weights)
        self._orders = [order_of(source, pictures, (seed, 1, k)) for k, source in enumerate(self.sources)]
        self._round, self._dealt = -1, (np.empty(0, np.int64), np.empty(0, np.int64))
        self._sides: dict[int, int] = {}
        self._shapes: dict[str, tuple[int, ...]] | None = None

    def __len__(self) -> int:
        return 0

    def persons(self) -> None:
        """Return None: a mix has no end."""

    def draw(self, numbers: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the source (N,) and the sample in it (N,) of each number (N,)."""
        numbers = np.asarray(numbers, np.int64)
        which, sample = np.empty_like(numbers), np.empty_like(numbers)
        groups, within = numbers // self.pictures, numbers % self.pictures
        rounds = groups // _ROUND
        for one in np.unique(rounds):
            chosen = rounds == one
            owner, turn = self._deal(int(one))
            places = groups[chosen] % _ROUND
            which[chosen] = owner[places]
            group = one * self.tickets[owner[places]] + turn[places]
            sample[chosen] = group * self.pictures + within[chosen]
        for k in np.unique(which):
            sample[which == k] = self._orders[k](sample[which == k])
        return which, sample

    def read(
        self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str] = (*FIELDS, *OPTIONAL)
    ) -> dict[str, Tensor]:
        """Return a batch of samples of all sources, in the order of their numbers.

        Optional fields that one source has are in every batch; ``displacement_known`` says whose displacement is true.
        People of different sources have different numbers.

        Raises:
            AssetError: an optional field has different sizes in two sources.
        """
        which, sample = self.draw(numbers)
        batch: dict[str, Tensor] = {}
        for k in np.unique(which).tolist():
            rows = torch.from_numpy(np.flatnonzero(which == k))
            part = self._scaled(k, self.sources[k].read(sample[which == k], fields))
            part = self._complete(k, part, fields)
            for name, value in part.items():
                if name not in batch:
                    batch[name] = value.new_empty(len(which), *value.shape[1:])
                batch[name][rows] = value.to(batch[name].dtype)
        return batch

    def sizes(self) -> dict[str, int]:
        """Return the sizes that all sources share.

        Raises:
            AssetError: they do not.
        """
        first, *others = (source.sizes() for source in self.sources)
        for number, other in enumerate(others, start=1):
            for name in ("points", "n_identity", "n_expression"):
                if first[name] != other[name]:
                    raise AssetError(
                        f"data.mix[{number}] has {name}={other[name]} but data.mix[0] has {first[name]}; "
                        "mix data of one head and one set of points"
                    )
        return {**first, "size": self.size}

    def _deal(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the source of each place of a round, and how often it was drawn before in this round."""
        if number != self._round:
            deck = np.repeat(np.arange(len(self.tickets)), self.tickets)
            owner = np.random.default_rng([self.seed, 2, number]).permutation(deck)
            turn = np.empty(_ROUND, np.int64)
            for k, count in enumerate(self.tickets):
                turn[owner == k] = np.arange(count)
            self._round, self._dealt = number, (owner, turn)
        return self._dealt

    def _complete(self, number: int, batch: dict[str, Tensor], fields: Sequence[str]) -> dict[str, Tensor]:
        """Add the optional fields that only other sources have, and make people's numbers those of the mix."""
        wanted = [name for name in OPTIONAL if name in fields]
        if not wanted:
            return batch
        count, shapes = len(next(iter(batch.values()))), self._optional_shapes()
        out = dict(batch)
        for name in wanted:
            if name in shapes and name not in batch:
                kind = torch.int64 if name == "person" else torch.uint8 if name == "skin" else torch.float32
                out[name] = torch.full((count, *shapes[name]), _UNKNOWN[name], dtype=kind)
        if "displacement" in out:
            out["displacement_known"] = torch.full((count,), float("displacement" in batch))
        if "person" in batch:
            person = batch["person"]
            out["person"] = torch.where(person < 0, person, person * len(self.sources) + number)
        return out

    def _optional_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each optional field that some source has."""
        if self._shapes is None:
            found: dict[str, tuple[int, ...]] = {}
            for number, source in enumerate(self.sources):
                for name, value in source.read([0], tuple(OPTIONAL)).items():
                    shape = tuple(value.shape[1:])
                    if name in OPTIONAL and found.setdefault(name, shape) != shape:
                        raise AssetError(
                            f"data.mix[{number}] has {name} of {shape} but another entry of {found[name]}; "
                            "mix data of one size"
                        )
            self._shapes = found
        return self._shapes

    def _scaled(self, number: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if "images" in batch:
            self._sides[number] = batch["images"].shape[-1]
        elif number not in self._sides:
            self._sides[number] = self.sources[number].sizes()["size"]
        return scale_samples(batch, self._sides[number], self.size)


def scale_samples(batch: dict[str, Tensor], side: int, size: int) -> dict[str, Tensor]:
    """Scale pictures of one side to another, antialiased, and everything that is measured in their pixels.

    Args:
        batch: sample arrays; ``images`` (B, 3, side, side) uint8 may be missing.
        side: what the labels refer to.
        size: wanted side.
    """
    if side == size:
        return batch
    zoom = size / side
    out = {name: value * zoom if name in _IN_PIXELS else value for name, value in batch.items()}
    if "K" in batch:
        out["K"] = batch["K"] * batch["K"].new_tensor([zoom, zoom, 1.0])[:, None]
    if "images" in batch:
        affine = torch.tensor([[zoom, 0.0, 0.0], [0.0, zoom, 0.0]]).expand(len(batch["images"]), 2, 3)
        pixels = warp(batch["images"].float() / 255, affine, size, "edge")
        out["images"] = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    return out
