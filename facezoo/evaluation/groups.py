"""Accuracy by skin tone, sex and age group, on synthetic people that no training may see.

The NME of the 68 iBUG points, as in :mod:`facezoo.evaluation.landmarks68`, of people whose traits are known exactly
because they were drawn: the test seeds of :mod:`facezoo.synth`. What it cannot show is how far drawn people are from
real ones; photographs show that, but do not come with these labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from facezoo.errors import InputError
from facezoo.hub.bias import BiasReport, Group
from facezoo.metrics import NormalizedMeanError
from facezoo.models.predict import FaceModel
from facezoo.synth.engine import SHARED_SKIN, TEST_SEEDS, VERSION, Sample, render_sample, traits_of

# Years; the last bound is open.
AGES = ((0, 18), (18, 40), (40, 65), (65, math.inf))
_BATCH = 16


@dataclass(frozen=True)
class Person:
    """One measured person: traits, and the error in percent.

    Attributes:
        melanin: 0 very light to 1 very dark.
        male: as drawn.
        age: years.
        nme: percent of √(w·h) of the true points' box.
    """

    melanin: float
    male: bool
    age: float
    nme: float


def spread_seeds(count: int) -> list[int]:
    """Return ``count`` test seeds, spread evenly: neighbours share a skin, so up to a quarter of all share none.

    Raises:
        InputError: fewer than 3 or more than there are.
    """
    if not 3 <= count <= len(TEST_SEEDS):
        raise InputError(
            f"count must be between 3 and {len(TEST_SEEDS)}, the number of test seeds; got {count}."
        )
    return [TEST_SEEDS[i * len(TEST_SEEDS) // count] for i in range(count)]


def measure_people(
    model: FaceModel, seeds: Sequence[int], render: Callable[[int], Sample] = render_sample
) -> list[Person]:
    """Render people, predict them from their true boxes, and compare.

    Args:
        model: any model with 68 landmarks.
        seeds: whom to draw.
        render: seed -> picture with labels.
    """
    people = []
    for first in range(0, len(seeds), _BATCH):
        samples = [render(seed) for seed in seeds[first : first + _BATCH]]
        boxes = [torch.from_numpy(sample.box)[None] for sample in samples]
        found = model.predict([sample.image for sample in samples], boxes=boxes, fit=False)
        for sample, prediction in zip(samples, found, strict=True):
            traits = traits_of(sample.seed)
            predicted = prediction[0].landmarks["ibug68"].float().cpu()[None]
            metric = NormalizedMeanError()
            metric.update(predicted, torch.from_numpy(sample.lm68)[None])
            people.append(Person(traits.melanin, traits.masculine > 0.5, traits.age, float(metric.compute())))
    return people


def by_groups(people: Sequence[Person]) -> dict[str, tuple[Group, ...]]:
    """Divide people by tercile of skin tone, by sex and by age; every kind of group holds everybody once."""
    tones = sorted(person.melanin for person in people)
    low, high = tones[len(tones) // 3], tones[2 * len(tones) // 3]
    return {
        "skin tone": (
            _group(f"light, melanin below {low:.2f}", [p for p in people if p.melanin < low]),
            _group(f"medium, {low:.2f} to {high:.2f}", [p for p in people if low <= p.melanin < high]),
            _group(f"dark, from {high:.2f}", [p for p in people if p.melanin >= high]),
        ),
        "sex": (
            _group("female", [p for p in people if not p.male]),
            _group("male", [p for p in people if p.male]),
        ),
        "age": tuple(
            _group(_years(first, end), [p for p in people if first <= p.age < end]) for first, end in AGES
        ),
    }


def measure_groups(
    model: FaceModel,
    weights_sha256: str,
    count: int = 500,
    render: Callable[[int], Sample] = render_sample,
) -> BiasReport:
    """Measure a model on ``count`` test people by groups.

    Args:
        model: any model with 68 landmarks.
        weights_sha256: digest of its weights file, which the report is signed with.
        count: people; rendering takes most of the time.
        render: seed -> picture with labels.
    """
    seeds = spread_seeds(count)
    skins = len({seed // SHARED_SKIN for seed in seeds})
    return BiasReport(
        model=model.model_id,
        weights_sha256=weights_sha256,
        data=f"synthetic test people ({VERSION}, seeds {seeds[0]} to {seeds[-1]}, {skins} different skins)",
        metric="NME of the 68 iBUG points, percent of √(w·h) of the true points' box, true boxes",
        count=count,
        command=f"facezoo evaluate {model.model_id} data=synthetic count={count}",
        groups=by_groups(measure_people(model, seeds, render)),
    )


def _group(name: str, people: Sequence[Person]) -> Group:
    n = len(people)
    if not n:
        return Group(name, 0, math.nan)
    mean = sum(p.nme for p in people) / n
    if n < 2:
        return Group(name, n, round(mean, 3))
    variance = sum((p.nme - mean) ** 2 for p in people) / (n - 1)
    return Group(name, n, round(mean, 3), round(math.sqrt(variance / n), 3))


def _years(first: float, end: float) -> str:
    if first == 0:
        return f"under {end:.0f}"
    return f"{first:.0f} and over" if math.isinf(end) else f"{first:.0f} to {end - 1:.0f}"
