"""Is the detail right, or only pretty? DECA's displacement against the true relief of synthetic people.

Errors are means over people of means over texels of the face that the picture shows bare: mean angle between normals,
and mean absolute displacement error. Most skin is smooth, so the same is measured again on folds, where the true relief
turns the normal by more than :data:`FOLD` degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.evaluation.wrinkles import RegionEnergy, exchange_energy
from facezoo.heads import HeadParams
from facezoo.metrics.relief import NormalError, ReliefError, normal_angles
from facezoo.models.deca.predict import Deca
from facezoo.models.deca.relief import SkinTexels, relief_normals, resized
from facezoo.models.deca.space import fixed_ids
from facezoo.synth import TEST_SEEDS
from facezoo.synth.engine import Sample, render_sample
from facezoo.types import Face

FOLD = 6.0  # degrees
_LEAST = 40  # texels; a face that shows fewer of a kind says nothing of it
_SIZE = 256
_PICTURES = 2  # of each person
_DRAWN = 6
NONE, MEAN, OWN = "coarse", "coarse + mean relief", "detailed"
SAME, OTHER, EXPRESSED = (
    "detailed, code of the same person's other picture",
    "detailed, code of another person",
    ("detailed, expression of the other picture"),
)
TRUTH = "coarse + true relief"


class Measured(NamedTuple):
    """A test picture and what became of it; maps have the model's resolution.

    Attributes:
        sample: picture and labels.
        face: predicted.
        vertices: (1, V, 3) of the true head without its relief, in the head's frame.
        truth: (1, 1, H, W) true displacement, metres, masked to the face.
        bare: (1, 1, H, W) 1 where the picture shows bare skin of the face.
        folds: (1, 1, H, W) 1 on bare folds.
    """

    sample: Sample
    face: Face
    vertices: Tensor
    truth: Tensor
    bare: Tensor
    folds: Tensor


class Row(NamedTuple):
    """Errors of one way to know the relief; NaN where nothing was measured."""

    normal: float
    height: float
    fold_normal: float
    fold_height: float


@dataclass
class ReliefReport:
    """Errors and exchange energies.

    Attributes:
        people, pictures: how many were measured.
        alone: way -> errors of the relief on the true head.
        whole: way -> errors on the predicted head against the true one, both in the head's frame.
        energy: region -> how displacements change when codes and expressions are exchanged.
        faces: the first ones, to draw.
    """

    people: int
    pictures: int
    alone: dict[str, Row]
    whole: dict[str, Row]
    energy: dict[str, RegionEnergy]
    faces: list[Measured] = field(repr=False)

    def to_dict(self) -> dict:
        """Return JSON values."""
        tables = {name: {k: _json(v) for k, v in getattr(self, name).items()} for name in ("alone", "whole")}
        energy = {region: {k: round(v, 4) for k, v in vars(e).items()} for region, e in self.energy.items()}
        return {
            "people": self.people,
            "pictures": self.pictures,
            "fold_degrees": FOLD,
            **tables,
            "energy_mm": energy,
        }

    def lines(self) -> list[str]:
        """Lay the report out for people."""
        lines = [
            f"{self.pictures} pictures of {self.people} people; folds turn the normal by {FOLD:g} degrees or more"
        ]
        for title, rows in (("relief on the true head", self.alone), ("on the predicted head", self.whole)):
            lines += ["", f"{title:<52}{'normals':>9}{'height':>10}{'folds':>9}{'height':>10}"]
            for way, row in rows.items():
                lines.append(
                    f"{way:<52}{row.normal:7.2f} °{row.height:7.3f} mm{row.fold_normal:7.2f} °{row.fold_height:7.3f} mm"
                )
        lines += [
            "",
            f"{'displacement, root mean square':<38}{'own':>8}{'by expression':>16}{'by person':>12}  mm",
        ]
        for region, e in self.energy.items():
            lines.append(f"{region:<38}{e.own:8.3f}{e.by_expression:16.3f}{e.by_person:12.3f}")
        return lines


class _Errors:
    """Four metrics of one way."""

    def __init__(self) -> None:
        self.metrics = (NormalError(), ReliefError(), NormalError(), ReliefError())
        self.seen = [0, 0]

    def add(self, normals: tuple[Tensor, Tensor], heights: tuple[Tensor, Tensor], test: Measured) -> None:
        for kind, weight in enumerate((test.bare, test.folds)):
            if float(weight.sum()) < _LEAST:
                continue
            self.seen[kind] += 1
            self.metrics[2 * kind].update(*normals, weight)
            self.metrics[2 * kind + 1].update(*heights, weight)

    def row(self) -> Row:
        values = [
            float(m.compute()) if self.seen[i // 2] else float("nan") for i, m in enumerate(self.metrics)
        ]
        return Row(*values)


@torch.no_grad()
def evaluate_relief(
    model: Deca, people: int, *, say: Callable[[str], None] = lambda text: None, size: int = _SIZE
) -> ReliefReport:
    """Predict two pictures each of test people with relief, cropped at their true boxes, and compare.

    Ways to know the relief, beside the model's own: none (the coarse head), the mean relief of the people measured, the
    model's relief decoded from another picture's code or expression, and, on the predicted head, the true relief, which
    is the best that any detail could do there.

    Args:
        model: with a detail branch.
        people: how many, at least two.
        say: told the progress.
        size: side of the pictures in pixels.

    Raises:
        InputError: no detail branch, or ``people`` is not in range.
    """
    if model.net.decoder is None:
        raise InputError("this model has no detail branch; recipe deca-detail trains one.")
    if not 2 <= people <= len(TEST_SEEDS) // _PICTURES:
        raise InputError(f"count must be between 2 and {len(TEST_SEEDS) // _PICTURES}, got {people}.")
    head = model.net.space.head
    texels = SkinTexels(head, model.surface, fixed_ids(head, model.config.points)).to(model.device)
    tests = []
    for done, seed in enumerate(TEST_SEEDS[: _PICTURES * people], start=1):
        sample = render_sample(seed, size, relief=True, pictures=_PICTURES)
        tests.append(_measure(model, texels, sample))
        if done % 20 == 0:
            say(f"{done}/{_PICTURES * people}")
    mean = torch.cat([test.truth for test in tests]).mean(0, keepdim=True)
    alone: dict[str, _Errors] = {}
    whole: dict[str, _Errors] = {}
    for number, test in enumerate(tests):
        twin = tests[number ^ 1].face
        stranger = tests[(number + _PICTURES) % len(tests)].face
        own = _relief(model, test.face)
        ways = {
            NONE: torch.zeros_like(own), MEAN: mean, OWN: own,
            SAME: _relief(model, _with_code(model, test.face, twin)),
            OTHER: _relief(model, _with_code(model, test.face, stranger)),
            EXPRESSED: _relief(model, model.transfer(test.face, twin)),
        }  # fmt: skip
        true_normals = relief_normals(model.surface, test.vertices, test.truth)
        assert test.face.vertices is not None
        vertices = test.face.vertices[None].to(model.device)
        for table, base, chosen in (
            (alone, test.vertices, ways),
            (whole, vertices, {NONE: ways[NONE], MEAN: mean, OWN: own, TRUTH: test.truth}),
        ):
            for way, relief in chosen.items():
                normals = relief_normals(model.surface, base, relief), true_normals
                table.setdefault(way, _Errors()).add(normals, (relief, test.truth), test)
    return ReliefReport(
        people,
        len(tests),
        {way: errors.row() for way, errors in alone.items()},
        {way: errors.row() for way, errors in whole.items()},
        exchange_energy(model, [test.face for test in tests[::_PICTURES]]),
        tests[: _PICTURES * _DRAWN : _PICTURES],
    )


def _measure(model: Deca, texels: SkinTexels, sample: Sample) -> Measured:
    """Predict one picture and lay its labels out in texture space."""
    device, surface = model.device, model.surface
    face = model.predict(sample.image, boxes=torch.from_numpy(sample.box))[0]
    rows = {
        name: torch.from_numpy(getattr(sample, name))[None].to(device)
        for name in ("identity", "expression", "jaw")
    }
    vertices = model.net.space.head(HeadParams(**rows)).vertices
    assert sample.displacement is not None and sample.skin is not None
    truth = torch.from_numpy(sample.displacement.astype(np.float32))[None, None].to(device) / 1000
    truth = resized(truth, model.config.detail_size) * surface.mask
    seen = texels.seen(torch.from_numpy(sample.visible)[None].to(device).float())
    bare = seen * _uncovered(surface.maps(vertices)[0], sample)
    flat = relief_normals(surface, vertices, torch.zeros_like(truth))
    steep = normal_angles(relief_normals(surface, vertices, truth), flat) > FOLD
    return Measured(sample, face, vertices, truth, bare, bare * steep)


def _uncovered(position: Tensor, sample: Sample) -> Tensor:
    """Tell where places (1, 3, H, W) of the head's frame lie on bare skin in the picture: (1, 1, H, W), 0 or 1."""
    R, t, K = (torch.from_numpy(np.asarray(x)).to(position) for x in (sample.R, sample.t, sample.K))
    places = position[0].permute(1, 2, 0) @ R.mT + t
    pixels = places @ K.mT
    pixels = pixels[..., :2] / pixels[..., 2:].clamp_min(1e-6)
    skin = torch.from_numpy(np.asarray(sample.skin)).to(position.device)
    block = sample.image.shape[0] / len(skin)
    at = (pixels / block).floor().long().clamp(0, len(skin) - 1)
    return (skin[at[..., 1], at[..., 0]] > 127)[None, None].to(position.dtype)


def _relief(model: Deca, face: Face) -> Tensor:
    assert face.detail is not None
    return face.detail["displacement"][None].to(model.device)


def _with_code(model: Deca, face: Face, other: Face) -> Face:
    """Decode a face anew with another one's detail code."""
    assert face.detail is not None and other.detail is not None
    return model.animate(replace(face, detail={**face.detail, "code": other.detail["code"]}))


def _json(row: Row) -> dict[str, float | None]:
    return {k: None if v != v else round(v, 4) for k, v in row._asdict().items()}
