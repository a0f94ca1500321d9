"""The order in which a training meets the samples of a finite source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facezoo.errors import InputError

if TYPE_CHECKING:
    from facezoo.data.sources import SampleSource


class EpochOrder:
    """One shuffled pass over all samples after the other, as a function of the running number alone.

    Numbers 0 .. total - 1 are the first pass, the next ``total`` the second in another order, and so on: no sample
    comes again before all have come. A source without end (total 0) keeps its numbers.
    """

    def __init__(self, total: int, key: Sequence[int]) -> None:
        """Order ``total`` samples; equal keys give equal orders."""
        self.total, self.key = total, tuple(key)
        self._epoch, self._shuffled = -1, np.empty(0, np.int64)

    def __call__(self, running: np.ndarray) -> np.ndarray:
        """Return the sample of each running number (N,)."""
        if not self.total:
            return running
        epochs, places = running // self.total, running % self.total
        samples = np.empty(len(running), np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            samples[chosen] = self._of(int(epoch))[places[chosen]]
        return samples

    def _of(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._shuffled = self._shuffle(np.random.default_rng([*self.key, epoch]))
            self._epoch = epoch
        return self._shuffled

    def _shuffle(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.total)


class PersonOrder(EpochOrder):
    """Passes in which K running numbers from a multiple of K on are different pictures of one person.

    A pass takes each person's pictures in groups of K, drawn anew each time, and the groups of all people in a random
    order: a person with n pictures comes n // K times, and up to K - 1 of the pictures wait for another pass. People
    with fewer than K pictures, and pictures of nobody known, never come: a picture beside itself says nothing of what a
    person's pictures share.
    """

    def __init__(self, persons: np.ndarray, pictures: int, key: Sequence[int]) -> None:
        """Order samples.

        Args:
            persons: (N,) the person of each sample, -1 for unknown.
            pictures: K.
            key: equal keys give equal orders.

        Raises:
            InputError: nobody has K pictures.
        """
        self._rows = np.flatnonzero(persons >= 0)
        _, self._who, counts = np.unique(persons[self._rows], return_inverse=True, return_counts=True)
        self._first, self._usable = np.cumsum(counts) - counts, counts // pictures * pictures
        self.pictures = pictures
        if not len(counts):
            raise InputError("its samples do not say whom they show")
        if not self._usable.any():
            raise InputError(
                f"its {len(counts)} people have at most {counts.max()} pictures each, none of them {pictures}"
            )
        super().__init__(int(self._usable.sum()), key)

    def _shuffle(self, rng: np.random.Generator) -> np.ndarray:
        mixed = rng.permutation(len(self._rows))
        mixed = mixed[np.argsort(self._who[mixed], kind="stable")]  # by person, in a random order within
        who = self._who[mixed]
        used = np.arange(len(mixed)) - self._first[who] < self._usable[who]
        groups = self._rows[mixed[used]].reshape(-1, self.pictures)
        return groups[rng.permutation(len(groups))].ravel()


def order_of(source: SampleSource, pictures: int, key: Sequence[int]) -> EpochOrder:
    """Return the order of a source in which ``pictures`` neighbours show one person.

    Sources without end keep their numbers; they render neighbours of one person themselves.

    Raises:
        InputError: a finite source of which nobody has so many pictures.
    """
    if pictures == 1 or not len(source):
        return EpochOrder(len(source), key)
    persons = source.persons()
    return PersonOrder(np.full(len(source), -1) if persons is None else persons, pictures, key)


def hold_out(total: int, count: int, persons: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Split samples into those to train on and the last ``count`` to validate on; nobody is in both.

    People are held out whole, from the one whose last picture comes last. Pictures of held-out people beyond ``count``
    are in neither part.

    Args:
        total: number of samples.
        count: samples to validate on, at most ``total``.
        persons: (total,) the person of each sample, -1 for unknown; None if nobody is known.

    Returns:
        Numbers of both, ascending.
    """
    rows = np.arange(total)
    if persons is None or not count:
        return rows[: total - count], rows[total - count :]
    unknown = persons < 0
    names = persons.astype(np.int64)
    names[unknown] = persons.max() + 1 + np.arange(int(unknown.sum()))
    _, who, counts = np.unique(names, return_inverse=True, return_counts=True)
    last = np.zeros(len(counts), np.int64)
    np.maximum.at(last, who, rows)
    people = np.argsort(-last)
    enough = int(np.searchsorted(np.cumsum(counts[people]), count)) + 1
    held = np.isin(who, people[:enough])
    return rows[~held], rows[held][-count:]
