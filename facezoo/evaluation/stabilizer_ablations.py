"""What each part of the stabilizer is worth: the recipe trained again without it, on the same budget.

python -m facezoo.evaluation.stabilizer_ablations OUT trainer.max_steps=1500 [only=full,face,...] [key=value ...]

Runs that are finished are not trained again; a run that was cut off goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from facezoo.config import load_recipe
from facezoo.errors import InputError, unknown_name
from facezoo.evaluation.stabilizer_table import TEST_SEED, network, rates
from facezoo.mesh.io.atomic import write_json
from facezoo.models.stabilizer import PairConfig
from facezoo.models.stabilizer.module import StabilizerModel
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.settings import Setting, read_settings, run_module, several, split_words
from facezoo.training.run import train

# Name of the run -> what differs from the recipe.
VARIANTS: dict[str, list[str]] = {
    "full": [],
    "no-mask": ["model.region=all"],
    "face": ["model.region=face"],
    "upper-face": ["model.region=upper_face"],
    "no-procrustes": ["model.procrustes=false"],
    "not-symmetric": ["model.symmetric=false"],
    "no-ridge": ["data.start=0"],
    "one-layout": ["data.layouts=1"],
    "points-480": ["model.points=480"],
    "mlp-only": ["model.linear=0", "data.start=0"],
    "spiral": ["model.linear=0", "data.start=0", "model.extractor=spiral"],
    "pairs-1k": ["data.limit=1024"],
    "pairs-8k": ["data.limit=8192"],
    "pairs-64k": ["data.limit=65536"],
}
# All other settings are the recipe's.
_KEYS = {"only": Setting([], several(str))}


def ablate(
    out: Path, overrides: Sequence[str], count: int = 512, names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Train and measure the variants.

    Args:
        out: holds one run folder a variant, and ``ablations.json`` afterwards.
        overrides: of the recipe, for all variants alike.
        count: held-out pairs.
        names: of the variants; all by default.
    """
    rows = []
    for name in names or VARIANTS:
        if name not in VARIANTS:
            raise unknown_name("ablation", name, VARIANTS)
        recipe = load_recipe("stabilizer", [*overrides, *VARIANTS[name], f"trainer.run_dir={out / name}"])
        model = StabilizerModel.from_pretrained(train(recipe))
        everything = torch.arange(model.head.n_vertices)
        test = PairSampler(model.head, everything, PairConfig(), TEST_SEED)
        found = rates({"network": network(model)}, test, count, 1.0)["network"]
        rows.append(
            {
                "variant": name,
                "pairs seen": model.info["trained_on"]["images_seen"],
                **{f"{region} md": score.md for region, score in found.items()},
                "upper_face mx": found["upper_face"].mx,
                "upper_face mauc": found["upper_face"].mauc,
            }
        )
    write_json(out / "ablations.json", rows)
    return rows


def main(arguments: Sequence[str]) -> int:
    """Run the module from the command line."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    if "=" in arguments[0]:
        raise InputError("give the folder OUT first; --help shows the settings")
    own, overrides = split_words(arguments[1:], _KEYS)
    given = read_settings("stabilizer_ablations", own, _KEYS)
    rows = ablate(Path(arguments[0]), overrides, names=given["only"])
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for row in rows:
        print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
