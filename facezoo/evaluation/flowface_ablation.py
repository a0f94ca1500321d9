"""What each part of FlowFace is worth: equal short trainings without it, and how many updates a network needs.

python -m facezoo.evaluation.flowface_ablation root=SHARDS out=FOLDER [only=whole,...] [seeds=0] [people=200]
python -m facezoo.evaluation.flowface_ablation model=flowface [people=200]

With ``root=``, variants are trained and measured; other settings are the recipe's (trainer.max_steps=400, say). With
``model=``, one network is measured after one to four updates. People are drawn from test seeds; errors are mean
distances in percent of the crop's side. ``table.md`` and ``table.json`` appear in FOLDER; what is finished there is
not trained again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from facezoo.config import load_recipe
from facezoo.data.augment import Augment
from facezoo.data.mirror import Mirror
from facezoo.data.shards import to_tensors
from facezoo.errors import InputError, unknown_name
from facezoo.evaluation.ablation import table, write_tables
from facezoo.evaluation.groups import spread_seeds
from facezoo.metrics import MeanLandmarkError, NormalizedMeanError
from facezoo.models.flowface.predict import FlowFace
from facezoo.models.load import load
from facezoo.settings import Setting, read_settings, run_module, several, split_words, whole
from facezoo.synth.engine import render_batch
from facezoo.training.run import train

VARIANTS: dict[str, tuple[str, ...]] = {
    "whole": (),
    "1 update": ("model.iterations=1",),
    "3 updates": ("model.iterations=3",),
    "mean map first": ("model.first_guess=mean",),
    "correlations alone": ("model.local_features=false",),
    "no matching loss": ("loss.match=0",),
    "UV context only": ("model.image_context=none",),
    "paper's form": (
        "model.first_guess=mean",
        "model.image_context=none",
        "model.local_features=false",
        "model.normalize=false",
        "loss.match=0",
        "loss.face=0",
        "loss.direct=0",
    ),
    "UV grid 8": ("model.uv_size=8", "model.uv_factor=4"),
    "UV grid 32": ("model.uv_size=32", "model.uv_factor=1"),
    "one UV resolution": ("model.uv_levels=1",),
    "features at 1/4": ("model.stride=4",),
    "new backbone": ("model.features_from=''",),
    "half the backbone": ("model.features_from=''", "model.widths=[16,32,64,128]"),
    "weights by surface": ("loss.face=0",),
}
_KEYS = {
    "root": Setting(),
    "out": Setting(),
    "model": Setting(),
    "only": Setting([], several(str)),
    "seeds": Setting([0], several(whole())),
    "people": Setting(200, whole(3)),
}
_BATCH, _SIZE = 16, 176
_UPDATES = (1, 2, 3, 4)


@torch.no_grad()
def measure(model: FlowFace, people: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Return errors on rendered people in crops from true boxes.

    Args:
        model: what is measured.
        people: batches of samples.

    Returns:
        ``"nme68"`` in percent of the box; ``"face"``, ``"all"`` and ``"guess"``, mean distances of the face's
        vertices, of all vertices and of the face's in the first guess, in percent of the crop's side; ``"sigma"``, the
        face's mean standard deviation in the same unit.
    """
    cut = Augment(model.crop, Mirror.of_head(model.head, model.config.points), None)
    face = model.head.topology.subset(model.config.points)
    nme = NormalizedMeanError()
    means = {name: MeanLandmarkError() for name in ("face", "all", "guess")}
    sigma = count = 0.0
    model.eval()
    for samples in people:
        batch = cut(samples)
        output = model(batch.images)
        nme.update(output.landmarks68, batch.landmarks68)
        means["face"].update(output.points[:, face], batch.points)
        means["all"].update(output.points, model.labels(batch)[0])
        means["guess"].update(output.guess[:, face, :2], batch.points)
        sigma += 100 * float(output.log_sigma[:, face].exp().mean((1, 2)).sum())
        count += len(batch.images)
    in_percent = {name: float(metric.compute()) * 100 / 256 for name, metric in means.items()}
    return {"nme68": float(nme.compute()), **in_percent, "sigma": sigma / count}


def by_updates(model: FlowFace, people: Sequence[dict[str, Tensor]]) -> dict[str, list[dict[str, float]]]:
    """Measure one network after each number of updates; its own number is restored."""
    own = model.config.iterations
    try:
        found = {}
        for count in _UPDATES:
            model.config.iterations = count
            found[f"{count} of {own} updates"] = [measure(model, people)]
        return found
    finally:
        model.config.iterations = own


def main(arguments: list[str]) -> int:
    """Run what the arguments describe; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    own, extra = split_words(arguments, _KEYS)
    given = read_settings("flowface_ablation", own, _KEYS)
    if not ("model" in given or ("root" in given and "out" in given)):
        raise InputError("give root=SHARDS out=FOLDER, or model=NAME; --help shows the settings")
    seeds = spread_seeds(given["people"])
    parts = [seeds[i : i + _BATCH] for i in range(0, len(seeds), _BATCH)]
    people = [to_tensors(render_batch(part, _SIZE)) for part in parts]
    if "model" in given:
        model = load(given["model"])
        if not isinstance(model, FlowFace):
            raise InputError(f"model={given['model']} is no flowface; nothing in it is updated")
        print("\n".join(table(by_updates(model, people))))
        return
    out = Path(given["out"])
    chosen = given["only"] or [*VARIANTS]
    for name in chosen:
        if name not in VARIANTS:
            raise unknown_name("ablation", name, VARIANTS)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for seed in given["seeds"]:
        for name, runs in results.items():
            folder = out / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"
            words = [
                f"data.root={given['root']}",
                "data.source=shards",
                f"seed={seed}",
                *extra,
                *VARIANTS[name],
            ]
            recipe = load_recipe("flowface", [*words, f"trainer.run_dir={folder}"])
            runs.append(measure(FlowFace.from_pretrained(train(recipe)), people))
            done = {k: v for k, v in results.items() if v}
            write_tables(out, done, table(done), arguments)
    print("\n".join(table(results)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
