"""Does the synergy help? Train SynergyNet without each of its parts, several seeds each, and compare on unseen people.

python -m facezoo.evaluation.synergy_ablation root=SHARDS out=FOLDER [minutes=8] [seeds=0,1,2] [people=200] [real=DIR]

The same command goes on where it stopped. ``real=`` adds aflw2000_9 and dlib_18 below DIR; other settings are a
recipe's (trainer.precision=bf16, say) and hold for all runs. ``table.md`` and ``table.json`` appear in FOLDER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from facezoo.data.readers import open_reader
from facezoo.evaluation.ablation import table, train_variant, write_tables
from facezoo.evaluation.groups import spread_seeds
from facezoo.evaluation.landmarks68 import evaluate
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
            words = [
                "data.source=shards", f"data.root={given['root']}", "trainer.max_steps=0",
                f"trainer.max_minutes={given['minutes']}", *extra, *VARIANTS[variant],
            ]  # fmt: skip
            export = train_variant("synergynet", out, variant, seed, words)
            model = SynergyFaces.from_pretrained(export)
            runs.append(measure(model, samples, given.get("real", "")))
            done = {k: v for k, v in results.items() if v}
            write_tables(out, done, table(done), arguments)
    print("\n".join(table(results)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
