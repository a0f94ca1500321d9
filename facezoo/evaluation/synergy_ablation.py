"""Does the synergy help? Train SynergyNet without each of its parts, several seeds each, and compare on unseen people.

python -m facezoo.evaluation.synergy_ablation root=SHARDS out=FOLDER [minutes=8] [seeds=0,1,2] [people=200] [real=DIR]

The same command goes on where it stopped. ``real=`` adds aflw2000_9 and dlib_18 below DIR; other settings are a
recipe's (trainer.precision=bf16, say) and hold for all runs. ``table.md`` and ``table.json`` appear in FOLDER.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from facezoo.data.readers import open_reader
from facezoo.errors import FacezooError
from facezoo.evaluation.groups import spread_seeds
from facezoo.evaluation.landmarks68 import evaluate
from facezoo.mesh.io.atomic import write_bytes, write_json
from facezoo.metrics import NormalizedMeanError
from facezoo.models.predict import FaceModel
from facezoo.models.synergynet.predict import SynergyFaces
from facezoo.settings import Setting, number, read_settings, run_module, several, split_words, whole
from facezoo.synth.engine import Sample, render_sample

# What each variant switches off.
VARIANTS: dict[str, tuple[str, ...]] = {
    "whole": (),
    "without refinement": ("loss.refined=0", "loss.contour=0"),
    "without reverse path": ("loss.reverse=0", "loss.consistency=0"),
    "without consistency": ("loss.consistency=0",),
}
# All other settings are the recipe's.
_KEYS = {
    "root": Setting(needed="SHARDS"),
    "out": Setting(needed="FOLDER"),
    "minutes": Setting(8.0, number),
    "seeds": Setting([0, 1, 2], several(whole())),
    "people": Setting(200, whole(1)),
    "real": Setting(),
}
_BATCH = 16


def train_variant(
    out: Path, variant: str, seed: int, root: str, minutes: float, extra: Sequence[str]
) -> Path:
    """Train one variant, or go on with it; return its export folder.

    Raises:
        FacezooError: the training failed; its output is above.
    """
    folder = out / f"{variant.replace(' ', '-')}-{seed}"
    command = [
        sys.executable, "-m", "facezoo.train", "recipe=synergynet", "data.source=shards", f"data.root={root}",
        "trainer.max_steps=0", f"trainer.max_minutes={minutes}", "trainer.image_every=0", f"seed={seed}",
        f"trainer.run_dir={folder}", *extra, *VARIANTS[variant],
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise FacezooError(f"the training of {variant!r} with seed {seed} failed: {' '.join(command)}")
    return folder / "export"


def measure(model: FaceModel, samples: Sequence[Sample], real: str = "") -> dict[str, float]:
    """Return NME in percent by data set and landmark set, all with true boxes."""
    metrics: dict[str, NormalizedMeanError] = {}
    for first in range(0, len(samples), _BATCH):
        part = samples[first : first + _BATCH]
        boxes = [torch.from_numpy(sample.box)[None] for sample in part]
        for sample, prediction in zip(part, model.predict([s.image for s in part], boxes=boxes), strict=True):
            for name, points in prediction[0].landmarks.items():
                truth = sample.lm68_contour if name == "ibug68_contour" else sample.lm68
                if len(points) == len(truth):
                    metric = metrics.setdefault(f"test people, {name}", NormalizedMeanError())
                    metric.update(points.float().cpu()[None], torch.from_numpy(truth)[None])
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    for data in ("aflw2000_9", "dlib_18") if real else ():
        for labels, row in evaluate(model, open_reader(data, real)).summary["nme_percent"].items():
            found[f"{data}, {labels}"] = row["mean"]
    return found


def table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Lay out mean and standard deviation over seeds, one line a variant; a dash where a variant has no such points."""
    columns = list(dict.fromkeys(name for runs in results.values() for run in runs for name in run))
    lines = [f"| variant | seeds | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for variant, runs in results.items():
        cells = []
        for column in columns:
            values = [run[column] for run in runs if column in run]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}" if values else "-")
        lines.append(f"| {variant} | {len(runs)} | {' | '.join(cells)} |")
    return lines


def main(arguments: list[str]) -> int:
    """Run what the arguments describe; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    own, extra = split_words(arguments, _KEYS)
    given = read_settings("synergy_ablation", own, _KEYS)
    out = Path(given["out"])
    samples = [render_sample(seed) for seed in spread_seeds(given["people"])]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for seed in given["seeds"]:
        for variant, runs in results.items():
            export = train_variant(out, variant, seed, given["root"], given["minutes"], extra)
            model = SynergyFaces.from_pretrained(export)
            runs.append(measure(model, samples, given.get("real", "")))
            _write(out, {k: v for k, v in results.items() if v}, arguments)
    print("\n".join(table(results)))


def _write(out: Path, results: dict[str, list[dict[str, float]]], arguments: list[str]) -> None:
    content: dict[str, Any] = {"results": results, "command": " ".join(arguments)}
    write_json(out / "table.json", content)
    write_bytes(out / "table.md", ("\n".join(table(results)) + "\n").encode())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
