"""``metrics.csv``: one row a log line, on disk at once, and cut back to the checkpoint when a run is resumed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from facezoo.errors import AssetError
from facezoo.mesh.io.atomic import write_bytes

FILE = "metrics.csv"


class CsvLog(Logger):
    """Rows of a training (``train/...``) and of its validations (``val/...``), empty where a row has no value.

    Lightning's own CSV logger begins a new file with every start and keeps rows in memory for a hundred steps: what was
    lost with a killed process is missing, and what was trained twice is there twice. Here a row is written when it is
    logged, and :meth:`cut` removes the rows behind the checkpoint that a run goes on from.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / FILE
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Nothing: there is one log a run."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``recipe.yaml`` has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row."""
        row = {"step": step, **metrics}
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite(self.rows())
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    @rank_zero_only
    def save(self) -> None:
        """Wait until all rows are on the disk; a checkpoint calls it before it is written."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    @rank_zero_only
    def cut(self, step: int) -> None:
        """Keep the rows up to a step, 0 for none, and go on behind them."""
        rows = [row for row in self.rows() if int(row["step"]) <= step] if step else []
        self._columns = list(rows[0]) if rows else []
        if rows:
            self._rewrite(rows)
        else:
            self.path.unlink(missing_ok=True)

    def rows(self) -> list[dict[str, str]]:
        """Read all whole rows; a killed process may have left half of one.

        Raises:
            AssetError: the file is no log of a run.
        """
        if not self.path.is_file():
            return []
        text = self.path.read_text()
        table = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        if not table or "step" not in table[0]:
            raise AssetError(f"{self.path} has no column 'step'; move it away to go on without it")
        return [dict(zip(table[0], row, strict=True)) for row in table[1:] if len(row) == len(table[0])]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.path, text.getvalue().encode())
