"""Keeping to a time a frame: what is left out when it is short, and what may be caught up on when it is not."""

from __future__ import annotations

import time
from collections.abc import Callable

_BANK = 1.0  # seconds that can be saved or owed
_FORGET = 0.2  # share of a new measurement in a running mean


class Budget:
    """Seconds a frame. Work is dropped, never a frame.

    Network and box are always paid for, and one step of the fit. More steps come out of what is left of the frame;
    a search for new people out of what earlier frames saved.

    Args:
        seconds: a frame.
        clock: seconds that never run back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self.clock = seconds, clock
        self.saved = 0.0
        self._began = clock()
        self._step: float | None = None
        self._search: float | None = None

    def begin(self) -> None:
        """Begin a frame."""
        self._began = self.clock()

    def end(self) -> None:
        """End a frame: put what is left into the bank, or take what it cost too much from there."""
        self.saved = min(max(self.saved + self.left(), -_BANK), _BANK)

    def left(self) -> float:
        """Return the seconds left of this frame; negative when it is late."""
        return self.seconds - (self.clock() - self._began)

    def affords_search(self) -> bool:
        """Tell whether a search fits into this frame and the bank; one must be measured first."""
        return self._search is None or self.left() + self.saved >= self._search

    def search_took(self, seconds: float) -> None:
        """Learn what a search costs."""
        self._search = _mean(self._search, seconds)

    def steps(self, most: int, people: int) -> int:
        """Return the steps of the fit that one of ``people`` who still wait for theirs may have, 1 to ``most``."""
        if self._step is None:
            return most
        return min(max(int(self.left() / people / max(self._step, 1e-6)), 1), most)

    def steps_took(self, seconds: float, steps: int) -> None:
        """Learn what a step costs."""
        self._step = _mean(self._step, seconds / steps)


def _mean(before: float | None, now: float) -> float:
    return now if before is None else before + _FORGET * (now - before)
