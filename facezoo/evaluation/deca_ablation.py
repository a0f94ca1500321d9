"""Does detail consistency help? Train DECA's wrinkles with and without exchanged codes, and compare on unseen people.

python -m facezoo.evaluation.deca_ablation init=EXPORT root=SHARDS out=FOLDER [steps=1500] [seeds=0,1] [people=50]

``init`` is a trained coarse model, which all runs share; SHARDS have relief and several pictures a person. The same
command goes on where it stopped. Other settings are recipe deca-detail's (trainer.precision=bf16, say) and hold for all
runs. ``table.md`` and ``table.json`` appear in FOLDER.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from facezoo.evaluation.ablation import mean_and_spread, train_variant, write_tables
from facezoo.evaluation.relief import EXPRESSED, MEAN, NONE, OTHER, OWN, SAME, ReliefReport, evaluate_relief
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
        # a report is not a number where no fold was in view
        parts.append(mean_and_spread([v for r in reports if (v := getattr(r.alone[way], kind)) == v]))
    return " / ".join(parts)


def main(arguments: list[str]) -> int:
    """Run what the arguments describe; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    own, extra = split_words(arguments, _KEYS)
    given = read_settings("deca_ablation", own, _KEYS)
    results: dict[str, list[ReliefReport]] = {name: [] for name in VARIANTS}
    out = Path(given["out"])
    for seed in given["seeds"]:
        for variant, reports in results.items():
            words = [
                f"init={given['init']}", f"data.root={given['root']}", f"trainer.max_steps={given['steps']}",
                *extra, *VARIANTS[variant],
            ]  # fmt: skip
            model = Deca.from_pretrained(train_variant("deca-detail", out, variant, seed, words)).eval()
            reports.append(evaluate_relief(model, given["people"]))
            done = {name: found for name, found in results.items() if found}
            content = {name: [report.to_dict() for report in found] for name, found in done.items()}
            write_tables(out, content, table(done), arguments)
    print("\n".join(table(results)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
