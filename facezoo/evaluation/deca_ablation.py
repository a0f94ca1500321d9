"""Does detail consistency help? Train DECA's wrinkles with and without exchanged codes, and compare on unseen people.

python -m facezoo.evaluation.deca_ablation init=EXPORT root=SHARDS out=FOLDER [steps=1500] [seeds=0,1] [people=50]

``init`` is a trained coarse model, which all runs share; SHARDS have relief and several pictures a person. The same
command goes on where it stopped. Other settings are recipe deca-detail's (trainer.precision=bf16, say) and hold for all
runs. ``table.md`` and ``table.json`` appear in FOLDER.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facezoo.errors import FacezooError
from facezoo.evaluation.relief import EXPRESSED, MEAN, NONE, OTHER, OWN, SAME, ReliefReport, evaluate_relief
from facezoo.mesh.io.atomic import write_bytes, write_json
from facezoo.models.deca.predict import Deca
from facezoo.settings import Setting, read_settings, run_module, several, split_words, whole

# What each variant changes; both see the same batches.
VARIANTS: dict[str, tuple[str, ...]] = {"codes exchanged": (), "codes not exchanged": ("loss.pictures=1",)}
_KEYS = {
    "init": Setting(needed="EXPORT"),
    "root": Setting(needed="SHARDS"),
    "out": Setting(needed="FOLDER"),
    "steps": Setting(1500, whole(1)),
    "seeds": Setting([0, 1], several(whole())),
    "people": Setting(50, whole(2)),
}
_COLUMNS = {
    "own code": OWN,
    "same person's other picture": SAME,
    "another person": OTHER,
    "other expression": EXPRESSED,
}


def train_variant(given: Mapping[str, Any], variant: str, seed: int, extra: Sequence[str]) -> Path:
    """Train one variant, or go on with it; return its export folder.

    Raises:
        FacezooError: the training failed; its output is above.
    """
    folder = Path(given["out"]) / f"{variant.replace(' ', '-')}-{seed}"
    command = [
        sys.executable, "-m", "facezoo.train", "recipe=deca-detail", f"init={given['init']}",
        f"data.root={given['root']}", f"trainer.max_steps={given['steps']}", "trainer.image_every=0", f"seed={seed}",
        f"trainer.run_dir={folder}", *extra, *VARIANTS[variant],
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise FacezooError(f"the training of {variant!r} with seed {seed} failed: {' '.join(command)}")
    return folder / "export"


def table(results: Mapping[str, Sequence[ReliefReport]]) -> list[str]:
    """Lay out normal errors on the true head, all skin / folds in degrees, mean and standard deviation over seeds."""
    lines = [
        f"| training | seeds | {' | '.join(_COLUMNS)} | exchange moves: own person / stranger |",
        f"|---|---|{'---|' * len(_COLUMNS)}---|",
    ]
    for variant, reports in results.items():
        cells = [_cell(reports, way) for way in _COLUMNS.values()]
        gaps = [[r.alone[way].normal - r.alone[OWN].normal for r in reports] for way in (SAME, OTHER)]
        moved = " / ".join(f"{statistics.mean(gap):+.3f}°" for gap in gaps)
        lines.append(f"| {variant} | {len(reports)} | {' | '.join(cells)} | {moved} |")
    first = next(iter(results.values()))
    for way in (NONE, MEAN):
        lines.append(f"| {way} | - | {_cell(first[:1], way)} |{' |' * len(_COLUMNS)}")
    return lines


def _cell(reports: Sequence[ReliefReport], way: str) -> str:
    parts = []
    for kind in ("normal", "fold_normal"):
        values = [value for report in reports if (value := getattr(report.alone[way], kind)) == value]
        if not values:  # no fold was in view
            parts.append("-")
            continue
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        parts.append(f"{statistics.mean(values):.2f}{spread}")
    return " / ".join(parts)


def main(arguments: list[str]) -> int:
    """Run what the arguments describe; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    own, extra = split_words(arguments, _KEYS)
    given = read_settings("deca_ablation", own, _KEYS)
    results: dict[str, list[ReliefReport]] = {name: [] for name in VARIANTS}
    for seed in given["seeds"]:
        for variant, reports in results.items():
            model = Deca.from_pretrained(train_variant(given, variant, seed, extra)).eval()
            reports.append(evaluate_relief(model, given["people"]))
            done = {name: found for name, found in results.items() if found}
            content = {name: [report.to_dict() for report in found] for name, found in done.items()}
            write_json(
                Path(given["out"]) / "table.json", {"results": content, "command": " ".join(arguments)}
            )
            write_bytes(Path(given["out"]) / "table.md", ("\n".join(table(done)) + "\n").encode())
    print("\n".join(table(results)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
