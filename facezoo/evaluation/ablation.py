"""What ablations share: the training of one variant in a process of its own, and the tables of all of them."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facezoo.errors import FacezooError
from facezoo.mesh.io.atomic import write_bytes, write_json


def train_variant(recipe: str, out: Path, variant: str, seed: int, words: Sequence[str]) -> Path:
    """Train one variant of a recipe below ``out``, or go on with it; return its export folder.

    Args:
        recipe: its name.
        out: folder of all variants.
        variant: names the run's folder.
        seed: of the training.
        words: settings of the recipe; of two for one key the last holds.

    Raises:
        FacezooError: the training failed; its output is above.
    """
    folder = out / f"{variant.replace(' ', '-')}-{seed}"
    command = [
        sys.executable, "-m", "facezoo.train", f"recipe={recipe}", "trainer.image_every=0", f"seed={seed}",
        f"trainer.run_dir={folder}", *words,
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise FacezooError(f"the training of {variant!r} with seed {seed} failed: {' '.join(command)}")
    return folder / "export"


def table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Lay out mean and standard deviation over seeds, one line a variant; a dash where a variant has no such points."""
    columns = list(dict.fromkeys(name for runs in results.values() for run in runs for name in run))
    lines = [f"| variant | seeds | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for variant, runs in results.items():
        cells = [mean_and_spread([run[column] for run in runs if column in run]) for column in columns]
        lines.append(f"| {variant} | {len(runs)} | {' | '.join(cells)} |")
    return lines


def mean_and_spread(values: Sequence[float]) -> str:
    """Show a mean, with the standard deviation if there are several values, or a dash if there is none."""
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def write_tables(
    out: Path, results: Mapping[str, Any], lines: Sequence[str], arguments: Sequence[str]
) -> None:
    """Write ``table.json`` with the results and the command, and ``table.md`` with the lines."""
    write_json(out / "table.json", {"results": results, "command": " ".join(arguments)})
    write_bytes(out / "table.md", ("\n".join(lines) + "\n").encode())
