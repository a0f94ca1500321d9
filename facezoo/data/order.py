"""The order in which a training meets the samples of a finite source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
            self._shuffled = np.random.default_rng([*self.key, epoch]).permutation(self.total)
            self._epoch = epoch
        return self._shuffled
