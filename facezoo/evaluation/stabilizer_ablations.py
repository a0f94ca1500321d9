"""What each part of the stabilizer is worth: the recipe trained again without it, on the same budget.

python -m facezoo.evaluation.stabilizer_ablations OUT trainer.max_steps=1500 [key=value ...]

Runs that are finished are not trained again; a run that was cut off goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from facezoo.config import load_recipe
from facezoo.errors import FacezooError, InputError
from facezoo.evaluation.stabilizer_table import TEST_SEED, network, rates
from facezoo.mesh.io.atomic import write_bytes
from facezoo.models.stabilizer import PairConfig
from facezoo.models.stabilizer.module import StabilizerModel
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.training.run import train

# Name of the run -> what differs from the recipe.
VARIANTS: dict[str, list[str]] = {
    "full": [],
    "no-mask": ["model.region=all"],
    "face": ["model.region=face"],
    "upper-face": ["model.region=upper_face"],
    "no-procrustes": ["model.procrustes=false"],
    "not-symmetric": ["model.symmetric=false"],
    "mlp-only": ["model.linear=0"],
    "spiral": ["model.linear=0", "model.extractor=spiral"],
    "pairs-1k": ["data.limit=1024"],
    "pairs-8k": ["data.limit=8192"],
    "pairs-64k": ["data.limit=65536"],
}


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
            raise InputError(f"no ablation {name!r}; known: {', '.join(VARIANTS)}")
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
    write_bytes(out / "ablations.json", (json.dumps(rows, indent=1) + "\n").encode())
    return rows


def main(arguments: Sequence[str]) -> int:
    """Run the module from the command line."""
    if not arguments or "=" in arguments[0]:
        print(__doc__)
        return 2
    chosen = [a.partition("=")[2].split(",") for a in arguments[1:] if a.startswith("only=")]
    try:
        rows = ablate(
            Path(arguments[0]),
            [a for a in arguments[1:] if not a.startswith("only=")],
            names=chosen[0] if chosen else (),
        )
    except FacezooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for row in rows:
        print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
