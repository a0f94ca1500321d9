"""Lines of progress on stderr: pictures done, speed, time left."""

from __future__ import annotations

import sys
import time

from facezoo.predicting.ledger import Ledger


class Progress:
    """Print a line every few seconds, for all processes together: it counts the lines of their journals."""

    def __init__(self, ledger: Ledger, pending: int, every: float = 5.0) -> None:
        self.ledger, self.pending, self.every = ledger, pending, every
        self.began = self._last = time.monotonic()
        self._read: dict[str, tuple[int, int]] = {}  # journal -> bytes read, lines seen

    def tick(self) -> None:
        """Print if it is time to."""
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last = now
            print(self.line(self.count(), now - self.began), file=sys.stderr, flush=True)

    def count(self) -> int:
        """Return how many pictures all processes have dealt with in this run."""
        for path in self.ledger.journals():
            position, lines = self._read.get(path.name, (0, 0))
            with path.open("rb") as file:
                file.seek(position)
                fresh = file.read()
            self._read[path.name] = (position + len(fresh), lines + fresh.count(b"\n"))
        return sum(lines for _, lines in self._read.values())

    def line(self, done: int, seconds: float) -> str:
        """Describe ``done`` pictures after ``seconds``."""
        speed = done / max(seconds, 1e-6)
        left = f"{duration((self.pending - done) / speed)} left" if done else "no picture done yet"
        width = len(str(self.pending))
        share = 100 * done / max(self.pending, 1)
        return f"{done:{width}d}/{self.pending} pictures {share:5.1f} %  {speed:.3g} images/s  {left}"


def duration(seconds: float) -> str:
    """Write a time for a person: 42 s, 3 min 20 s, 5 h 12 min."""
    whole = round(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
