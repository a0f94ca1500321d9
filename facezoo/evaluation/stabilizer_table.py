"""``facezoo evaluate skull-stabilizer data=synthetic``: the network beside its baselines on people it never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from facezoo.errors import InputError
from facezoo.evaluation.stabilizer_baselines import Baseline, baselines, disagreement, stability_map
from facezoo.evaluation.stabilizer_metrics import REGIONS, Score, score
from facezoo.evaluation.stabilizer_unpose import Unpose
from facezoo.models.stabilizer import PairConfig, RigidTransform
from facezoo.models.stabilizer.module import StabilizerModel
from facezoo.models.stabilizer.pairs import PairBatch, PairSampler
from facezoo.models.stabilizer.people import KINDS
from facezoo.models.stabilizer.regions import regions

# No recipe trains on it: other people, and other usual expressions than those that any training mixes.
TEST_SEED = 777_000_001
_BATCH = 64
_UNPOSE_POINTS = 3  # of the points that the network sees, every third is fitted


def measure(
    model: StabilizerModel,
    count: int = 256,
    *,
    unpose: int = 32,
    noise: float = 1.0,
    config: PairConfig | None = None,
) -> dict[str, Any]:
    """Measure the network and all baselines on the same held-out pairs.

    Args:
        model: on the CPU.
        count: pairs for each method, and as many again shared out among the kinds of expressions.
        unpose: pairs for unposing, which takes a tenth of a second a pair; 0 leaves it out.
        noise: strength of the noise.
        config: what pairs are made like, by default as in training.

    Returns:
        ``rows`` (one a method), ``kinds`` (network and best baseline by kind of expression), ``checks`` (mm).

    Raises:
        InputError: fewer than one pair.
    """
    if count < 1:
        raise InputError(f"count={count}; expected at least 1")
    head, areas = model.head, regions(model.head)
    config = config or PairConfig()
    everything = torch.arange(head.n_vertices)
    test = PairSampler(head, everything, config, TEST_SEED)
    learned = stability_map(PairSampler(head, everything, config, 0))
    methods: dict[str, Baseline] = {"network": network(model), **baselines(head, areas, learned)}
    rows: list[dict[str, Any]] = [
        {"method": name, "pairs": count, **_flat(found)}
        for name, found in rates(methods, test, count, noise).items()
    ]
    if unpose:
        few = regions(head).full_head
        few = model.ids.cpu()[torch.isin(model.ids.cpu(), few)][::_UNPOSE_POINTS]
        half = head.n_identity // 2
        fitted: dict[str, Baseline] = {
            "unpose, half the identities": Unpose(head, few, half),
            "unpose, the true model": Unpose(head, few),
        }
        rows += [
            {"method": name, "pairs": unpose, **_flat(found)}
            for name, found in rates(fitted, test, unpose, noise).items()
        ]
    plain = [row for row in rows[1:] if not row["method"].startswith("unpose")]
    best = min(plain, key=lambda row: row["upper_face md"])["method"]
    kinds = []
    for kind in KINDS:
        found = rates(
            {name: methods[name] for name in ("network", best)},
            test,
            max(1, count // len(KINDS)),
            noise,
            kind,
        )
        kinds.append(
            {
                "kind": kind,
                "network md": found["network"]["upper_face"].md,
                f"{best} md": found[best]["upper_face"].md,
            }
        )
    return {
        "count": count,
        "noise": noise,
        "best_baseline": best,
        "ratio": rows[0]["upper_face md"] / min(row["upper_face md"] for row in plain),
        "rows": rows,
        "kinds": kinds,
        "checks": checks(model, test.held_out(1 << 20, _BATCH)),
    }


def network(model: StabilizerModel) -> Baseline:
    """Return the network as a function of whole meshes."""
    return lambda source, target: model.between(model.points(source), model.points(target))


def checks(model: StabilizerModel, pairs: PairBatch) -> dict[str, float]:
    """Return what must hold whatever was learned: largest errors over all vertices and pairs, mm."""
    find: Callable = network(model)
    found = find(pairs.source, pairs.target)
    away = RigidTransform.exp(torch.linspace(-0.4, 0.4, 6).expand(len(pairs.source), 6)).to(torch.float32)
    moved = find(away.apply(pairs.source), away.apply(pairs.target))
    same = RigidTransform.identity((len(pairs.source),), pairs.source)
    back = find(pairs.target, pairs.source)

    def worst(a: RigidTransform, b: RigidTransform) -> float:
        return float(disagreement(a, b, pairs.source).max())

    return {
        "identity pair": worst(find(pairs.source, pairs.source), same),
        "rigid motion alone": worst(find(pairs.source, away.apply(pairs.source)), away),
        "common rigid motion": worst(away.inverse() @ moved @ away, found),
        "there and back": worst(back @ found, same),
    }


def table(result: dict[str, Any]) -> list[str]:
    """Lay a result out as lines of Markdown."""
    heads = [f"{region.replace('_', ' ')} {metric}" for region in REGIONS for metric in ("md", "mx", "mAUC")]
    lines = ["| method | pairs | " + " | ".join(heads) + " |", "|---|---" + "|---" * len(heads) + "|"]
    for row in result["rows"]:
        cells = [f"{row[f'{region} {metric}']:.3f}" for region in REGIONS for metric in ("md", "mx", "mauc")]
        lines.append(f"| {row['method']} | {row['pairs']} | " + " | ".join(cells) + " |")
    names = list(result["kinds"][0])
    lines += ["", "| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in result["kinds"]:
        lines.append("| " + " | ".join(v if isinstance(v, str) else f"{v:.3f}" for v in row.values()) + " |")
    lines += ["", *(f"{name}: {value:.5f} mm" for name, value in result["checks"].items())]
    lines.append(f"md upper face over the best baseline's ({result['best_baseline']}): {result['ratio']:.3f}")
    return lines


def rates(
    methods: dict[str, Baseline], test: PairSampler, count: int, noise: float, kind: str | None = None
) -> dict[str, dict[str, Score]]:
    """Score methods on the same pairs, batch by batch."""
    totals: dict[str, dict[str, list[tuple[Score, int]]]] = {
        name: {r: [] for r in REGIONS} for name in methods
    }
    for number, first in enumerate(range(0, count, _BATCH)):
        size = min(_BATCH, count - first)
        pairs = test.held_out(number, size, kind=kind, strength=noise)
        for name, method in methods.items():
            for region, value in score(
                method(pairs.source, pairs.target), pairs.truth, pairs.clean, test.areas
            ).items():
                totals[name][region].append((value, size))
    return {name: {region: _mean(parts) for region, parts in rows.items()} for name, rows in totals.items()}


def _mean(parts: list[tuple[Score, int]]) -> Score:
    total = sum(size for _, size in parts)
    sums = [sum(asdict(value)[key] * size for value, size in parts) / total for key in ("md", "mx", "mauc")]
    return Score(*sums)


def _flat(scores: dict[str, Score]) -> dict[str, float]:
    return {
        f"{region} {key}": value for region, rate in scores.items() for key, value in asdict(rate).items()
    }
