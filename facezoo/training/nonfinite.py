"""A loss that is not finite: noticed before it reaches a checkpoint, and its batch kept for a look.

python -m facezoo.training.nonfinite RUN/nonfinite-step00001234.json
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save
from torch import Tensor

from facezoo.config import Recipe, resolve, to_yaml, versions
from facezoo.errors import AssetError, FacezooError
from facezoo.mesh.io.atomic import write_bytes, write_json

_NONE = 2**62


class FiniteWatch:
    """Remember the first step whose loss or gradient was not finite, without making a GPU wait.

    A GPU is asked every ``every`` steps and before each checkpoint, a CPU at every step. All processes ask at the same
    steps, because the answer is agreed among them.
    """

    def __init__(self, device: torch.device, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.every = 1 if device.type == "cpu" else 20
        self._first = torch.full((2,), _NONE, dtype=torch.long, device=device)

    def look(self, value: Tensor, step: int, *, gradient: bool = False) -> None:
        """Note a loss, or the norm of a gradient, of a step."""
        place, code = int(gradient), step * self.world + self.rank
        found = torch.where(torch.isfinite(value.detach()), _NONE, code)
        self._first[place] = torch.minimum(self._first[place], found)

    def found(self) -> tuple[int, int | None] | None:
        """Return the first bad step and the rank whose loss it was (None: the gradient of all), or None."""
        first = self._first
        if self.world > 1:
            first = first.clone()
            torch.distributed.all_reduce(first, torch.distributed.ReduceOp.MIN)
        loss, gradient = first.tolist()
        if min(loss, gradient) == _NONE:
            return None
        if loss // self.world <= gradient // self.world:
            return loss // self.world, loss % self.world
        return gradient // self.world, None


def save_evidence(
    run_dir: Path, recipe: Recipe, step: int, batches: dict[int, dict[str, Tensor]], known: dict[str, Any]
) -> FacezooError:
    """Write the batches of a bad step with what is needed to repeat it, and build the error that says where.

    Args:
        run_dir: folder of the run; gets ``nonfinite-step<N>.safetensors`` and ``.json``.
        recipe: the resolved recipe.
        step: number of optimiser steps before the bad one.
        batches: stored samples by rank.
        known: JSON values, e.g. ``terms``, ``crop_seeds``, ``lr``, ``precision``, ``source`` ("loss" or "gradient").
    """
    stem = run_dir / f"nonfinite-step{step:08d}"
    ranks = torch.cat([torch.full((len(b["seed"]),), rank) for rank, b in batches.items()])
    fields = next(iter(batches.values())).keys()
    tensors = {k: torch.cat([b[k].detach().cpu() for b in batches.values()]).contiguous() for k in fields}
    write_bytes(stem.with_suffix(".safetensors"), save({**tensors, "rank": ranks}))
    description = {
        "step": step,
        **known,
        "seed": recipe.seed,
        "batch": stem.with_suffix(".safetensors").name,
        "samples": tensors["seed"].tolist(),
        "versions": versions(),
        "recipe": to_yaml(recipe),
    }
    file = write_json(stem.with_suffix(".json"), _plain(description))
    terms = ", ".join(f"{k} {v:g}" for k, v in known["terms"].items())
    cures = [f"optim.lr={recipe.optim.lr / 4:g}"]
    cures += [] if recipe.optim.clip else ["optim.clip=1"]
    cures += [] if known["precision"] == "32-true" else ["trainer.precision=32"]
    return FacezooError(
        f"the {known['source']} is not finite at step {step}{f' ({terms})' if terms else ''}; the batch, its seeds and "
        f"the recipe are in {file}: look at them with 'python -m facezoo.training.nonfinite {file}'. To go on from the "
        f"last checkpoint, run the same command with {' '.join(cures)}"
    )


def describe(file: Path) -> list[str]:
    """Return what a saved bad step holds: the step, its terms, and the range of every field of its batch.

    Raises:
        AssetError: it is not what :func:`save_evidence` wrote.
    """
    found, batch = _read(file)
    lines = [f"step {found['step']}: the {found['source']} is not finite", f"  seed {found['seed']}"]
    lines += [f"  {name} {found[name]}" for name in ("crop_seeds", "lr", "precision", "samples")]
    lines += [f"  {name:<16}{value}" for name, value in found["terms"].items()]
    lines.append(f"{'field':<14}{'shape':<20}{'least':>12}{'most':>12}{'not finite':>12}")
    for name, value in batch.items():
        values = value.double()
        good = values[values.isfinite()]
        low, high = (float(good.min()), float(good.max())) if good.numel() else (math.nan, math.nan)
        bad = values.numel() - good.numel()
        lines.append(f"{name:<14}{list(value.shape)!s:<20}{low:>12.4g}{high:>12.4g}{bad:>12}")
    return lines


def draw(file: Path) -> Path:
    """Draw the crops that the network saw, true points in red, beside the file; return the picture's path."""
    from facezoo.training.initialise import build_model
    from facezoo.training.pictures import draw_sheet

    found, batch = _read(file)
    recipe = resolve(OmegaConf.create(found["recipe"]), str(file))
    model, augment = build_model(recipe, resumed=True)
    rank = batch.pop("rank")
    crops, points = [], []
    for number, seed in zip(rank.unique().tolist(), found["crop_seeds"], strict=True):
        part = augment({k: v[rank == number] for k, v in batch.items()}, seed=seed)
        crops.append(part.images)
        points.append(model.preview_points(part))
    sheet = draw_sheet(torch.cat(crops), torch.cat(points)[:, :0], torch.cat(points))
    path = file.with_suffix(".png")
    sheet.save(path)
    return path


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        found = json.loads(file.read_text())
        return found, load_file(file.with_name(found["batch"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(
            f"{file} is not the .json file of a bad step: {error}; a run names it when it stops"
        ) from error


def _plain(value: Any) -> Any:
    """Turn values into JSON: numbers that are not finite become words."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a bad step and draw its crops; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or given[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if given and given[0] in ("-h", "--help") else 2
    try:
        print("\n".join(describe(Path(given[0]))), flush=True)
        print(draw(Path(given[0])))
    except FacezooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
