"""A performance of a person whom no training saw, with the true motion of the skull; and how well it is held still.

python -m facezoo.evaluation.stabilizer_performance OUT [model=skull-stabilizer] [frames=64] [seed=0] [people=8]

Writes ``OUT/performance.npz`` (the first person's frames, for ``facezoo stabilize``); prints a table over all people.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.evaluation.stabilizer_baselines import baselines, stability_map
from facezoo.evaluation.stabilizer_table import TEST_SEED
from facezoo.heads import HeadModel
from facezoo.mesh.io.sequence import MeshSequence, write_sequence_npz
from facezoo.mesh.mesh import Mesh
from facezoo.models.load import load
from facezoo.models.stabilizer import PairConfig, RigidTransform
from facezoo.models.stabilizer.criterion import distances
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.models.stabilizer.people import KINDS
from facezoo.settings import Setting, read_settings, run_module, whole

_KEYS = {
    "model": Setting("skull-stabilizer"),
    "frames": Setting(64, whole(2)),
    "seed": Setting(0, whole()),
    "people": Setting(8, whole()),
}
_KEY = 10  # frames from one expression to the next
_SWAY = (0.12, 0.02)  # radians and metres of the rigid motion
_NECK = 0.5  # of the training's largest turns


def perform(sampler: PairSampler, frames: int, seed: int) -> tuple[Tensor, RigidTransform]:
    """Make a performance: expressions and neck go smoothly from key to key, registration noise is new in each frame.

    Args:
        sampler: of all vertices of a head.
        frames: at least 2.
        seed: of the person and what they do.

    Returns:
        Vertices (N, V, 3) in metres, and where the skull was in each frame (N).
    """
    if frames < 2:
        raise InputError(f"frames={frames}; expected at least 2")
    generator = torch.Generator().manual_seed(TEST_SEED + seed)
    keys = math.ceil(frames / _KEY) + 1
    kinds = torch.randint(len(KINDS), (keys,), generator=generator)
    kinds[0] = 0
    drawn = sampler.population.expressions(kinds, generator)
    drawn.expression[0], drawn.jaw[0] = 0, 0  # it begins at rest
    turns = torch.tensor(sampler.config.neck) * (math.pi / 180) * _NECK
    neck = turns * (2 * torch.rand(keys, 3, generator=generator) - 1)
    sway = torch.tensor([_SWAY[0]] * 3 + [_SWAY[1]] * 3) * (2 * torch.rand(keys, 6, generator=generator) - 1)
    place = torch.arange(frames) / _KEY
    first, share = place.long(), place.frac()
    ease = ((1 - torch.cos(math.pi * share)) / 2)[:, None]

    def smooth(values: Tensor) -> Tensor:
        return values[first] * (1 - ease) + values[first + 1] * ease

    identity = sampler.population.identities(1, generator).expand(frames, -1)
    away = RigidTransform.exp(smooth(sway))
    vertices, skull = sampler.geometry(
        identity, smooth(drawn.expression), smooth(drawn.jaw), smooth(neck), away
    )
    return sampler.noise(vertices, generator), skull


def measure_performance(model: Any, people: int = 8, frames: int = 64, seed: int = 0) -> list[dict[str, Any]]:
    """Measure how still several methods hold the skulls of several people.

    Returns:
        One row a method: ``md`` and ``mx`` on the upper face against the true skull, relative to the reference frame,
        and ``jitter``, the mean distance of a frame's error from the mean of its neighbours' errors, mm.
    """
    head: HeadModel = model.head
    sampler = PairSampler(head, torch.arange(head.n_vertices), PairConfig(), TEST_SEED)
    upper = sampler.areas.upper_face
    others = baselines(head, sampler.areas, stability_map(PairSampler(head, sampler.ids, PairConfig(), 0)))
    totals: dict[str, list[Tensor]] = {}
    for person in range(people):
        vertices, skull = perform(sampler, frames, seed + person)
        result = model.stabilize(vertices)
        home = result.reference
        assert home is not None
        truth = skull[home : home + 1] @ skull.inverse()
        found = {
            "network, five anchors": result.transforms,
            "network, one anchor": model.stabilize(vertices, home, anchors=1).transforms,
            "network, five anchors, smooth 9": model.stabilize(vertices, home, smooth=9).transforms,
        }
        target = vertices[home : home + 1].expand_as(vertices)
        for name in ("procrustes, upper face", "reweighted procrustes", "mode pursuit", "stability map"):
            found[name] = others[name](vertices, target)
        for name, transforms in found.items():
            totals.setdefault(name, []).append(_errors(transforms, truth, vertices[:, upper], home))
    return [
        {
            "method": name,
            "md": float(e[:, 0].mean()),
            "mx": float(e[:, 1].mean()),
            "jitter": float(e[1:-1, 2].mean()),
        }
        for name, e in ((n, torch.cat(parts)) for n, parts in totals.items())
    ]


def _errors(found: RigidTransform, truth: RigidTransform, points: Tensor, home: int) -> Tensor:
    """Return md, mx and jitter of each frame but the reference, (N - 1, 3) mm."""
    apart = distances(found, truth, points)
    error = 1e3 * (found.apply(points) - truth.apply(points))
    jitter = torch.zeros(len(points))
    jitter[1:-1] = (error[1:-1] - (error[2:] + error[:-2]) / 2).norm(dim=-1).mean(1)
    rows = torch.stack([apart.mean(1), apart.amax(1), jitter], 1)
    return rows[torch.arange(len(rows)) != home]


def main(arguments: Sequence[str]) -> int:
    """Run the module from the command line."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    if "=" in arguments[0]:
        raise InputError("give the folder OUT first; --help shows the settings")
    given = read_settings("stabilizer_performance", arguments[1:], _KEYS)
    frames, seed = given["frames"], given["seed"]
    model: Any = load(given["model"], device="cpu")
    sampler = PairSampler(model.head, torch.arange(model.head.n_vertices), PairConfig(), TEST_SEED)
    vertices, _ = perform(sampler, frames, seed)
    array = vertices.numpy()
    mesh = Mesh(vertices=array[0], faces=model.head.topology.faces)
    names = tuple(f"frame{i:03d}" for i in range(frames))
    write_sequence_npz(Path(arguments[0]) / "performance.npz", MeshSequence(names, array, mesh))
    rows = measure_performance(model, given["people"], frames, seed) if given["people"] else []
    print("| method | md | mx | jitter |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['method']} | {row['md']:.3f} | {row['mx']:.3f} | {row['jitter']:.3f} |")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
