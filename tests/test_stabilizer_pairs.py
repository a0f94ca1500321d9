"""Training pairs: the truth is true, steps repeat, held-out people stay out, drag of the skull is found and removed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from stabilizer_fakes import FEW, head, sampler

from facezoo.errors import InputError, UnknownNameError
from facezoo.heads import HeadModel
from facezoo.heads.file import read_head
from facezoo.heads.registry import head_path
from facezoo.models.stabilizer.criterion import distances
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.models.stabilizer.people import KINDS, Population
from facezoo.models.stabilizer.regions import choose_mesh, choose_points, regions
from facezoo.models.stabilizer.steady import steady_expressions


def still_points() -> torch.Tensor:
    """Return positions in the sampler's points of what no expression moves: the cranium's back and the ears."""
    areas = regions(head())
    moved = head().shapedirs[..., head().n_identity :].norm(dim=1).amax(1)
    stiff = (moved < 1e-7) & (head().weights[:, 1] > 0.999)
    ids = torch.cat([areas.cranium, areas.ears])
    return torch.nonzero(torch.isin(sampler().ids, ids[stiff[ids]]))[:, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_brings_the_skulls_together(kind: str) -> None:
    pairs = sampler()(3, 24, kind=kind, strength=0.0)
    rest = 1e3 * (pairs.truth.apply(pairs.source) - pairs.target).norm(dim=-1)
    stiff = still_points()
    assert len(stiff) > 20
    assert float(rest[:, stiff].max()) < 0.01  # float32 at half a metre
    assert float(rest.amax(1).median()) > 1.0  # and the faces differ
    assert torch.equal(pairs.clean, pairs.source)


def test_noise_is_what_was_asked_for() -> None:
    config = dataclasses.replace(FEW, drift=0.0, white=0.0, noise=[0.4], widths=[30.0], mirror=0.0, swap=0.0)
    made = PairSampler(head(), sampler().ids, config)(0, 200)
    apart = 1e3 * (made.source - made.clean)
    ids = sampler().ids
    areas = regions(head())
    face, cranium = torch.isin(ids, areas.face), torch.isin(ids, areas.cranium)
    on_face = float(apart[:, face].square().sum(-1).mean().sqrt())
    assert 0.3 < on_face < 0.6  # gains between a third and five thirds
    assert float(apart[:, cranium].square().sum(-1).mean().sqrt()) == pytest.approx(3 * on_face, rel=0.2)


def test_layouts_of_the_noise_change_from_step_to_step() -> None:
    config = dataclasses.replace(FEW, white=0.0, drift=0.0, mirror=0.0, noise=[0.5], widths=[50.0])
    ranks = []
    for layouts in (1, 6):
        made = PairSampler(head(), sampler().ids, dataclasses.replace(config, layouts=layouts))
        fields = torch.cat([pairs.source - pairs.clean for pairs in (made(step, 64) for step in range(4))])
        ranks.append(int(torch.linalg.matrix_rank(fields[..., 0].double(), rtol=1e-3)))
    assert ranks[0] == 31 and ranks[1] > 2 * 31  # 31 bumps a layout


def test_a_step_is_the_same_whenever_it_is_made() -> None:
    first = sampler()(5, 8)
    sampler()(6, 8)
    again = PairSampler(head(), sampler().ids, FEW)(5, 8)
    assert torch.equal(first.source, again.source) and torch.equal(first.truth.t, again.truth.t)
    assert not torch.equal(first.source, sampler()(6, 8).source)
    other = PairSampler(head(), sampler().ids, FEW, seed=1)(5, 8)
    assert not torch.equal(first.source, other.source)


def test_a_limited_set_repeats_and_never_meets_the_held_out_one() -> None:
    limited = PairSampler(head(), sampler().ids, dataclasses.replace(FEW, limit=32))
    assert torch.equal(limited(0).source, limited(2).source)
    assert not torch.equal(limited(0).source, limited(1).source)
    held_out = limited.held_out(0, 16)
    assert not any(torch.equal(held_out.source, limited(step).source) for step in range(4))
    assert not torch.equal(held_out.source, limited.held_out(1, 16).source)


def test_mirroring_keeps_the_truth() -> None:
    config = dataclasses.replace(FEW, mirror=1.0, swap=0.5)
    pairs = PairSampler(head(), sampler().ids, config)(0, 16, strength=0.0)
    rest = 1e3 * (pairs.truth.apply(pairs.source) - pairs.target).norm(dim=-1)
    assert float(rest[:, still_points()].max()) < 0.01


def test_asymmetric_faces_are_asymmetric() -> None:
    population = Population(head(), 64, 0)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.nonzero(side)[:, 0] for side in (population.left, population.right))

    def lopsided(kind: str) -> float:
        kinds = torch.full((256,), KINDS.index(kind))
        drawn = population.expressions(kinds, generator).expression
        return float((drawn[:, left] - drawn[:, right]).abs().mean())

    assert lopsided("asymmetric") > 1.3 * lopsided("usual")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'extreme'"):
        sampler()(0, 2, kind="extrem")


def dragging_head() -> HeadModel:
    """Return the open head, but smiling turns and shifts everything, as FLAME 2020's expressions do."""
    arrays, meta = read_head(head_path("open-v1"))
    arrays = dict(arrays)
    directions = arrays["shapedirs"].astype(np.float32).copy()
    number = head().n_identity + meta["expression_names"].index("mouthSmileLeft")
    places = arrays["v_template"] - arrays["v_template"].mean(0)
    directions[..., number] += np.cross(np.float32([0.02, 0.03, 0.0]), places) + np.float32(
        [0.001, 0.002, 0.0]
    )
    return HeadModel({**arrays, "shapedirs": directions}, {**meta, "head_id": "dragging"})


def test_drag_is_measured_and_removed() -> None:
    bad = dragging_head()
    directions, joints, found = steady_expressions(bad)
    number = bad.params["expression"].names.index("mouthSmileLeft")
    assert float(found.angle[number]) == pytest.approx(np.degrees(np.hypot(0.02, 0.03)), rel=0.02)
    assert float(found.before[number]) > 2 and float(found.after[number]) < 0.1
    good = head().shapedirs[..., head().n_identity :]
    assert float((directions - good).abs().max()) < 5e-5  # metres: as it was before
    assert float((joints - head().joint_dirs[..., head().n_identity :]).abs().max()) < 5e-5
    assert "mouthSmileLeft" in found.lines(1)[0]


def test_pairs_of_a_dragging_head_have_the_true_skull() -> None:
    ids = sampler().ids
    a, b = (PairSampler(h, ids, FEW)(1, 12, strength=0.0) for h in (dragging_head(), head()))
    assert float(distances(a.truth, b.truth, b.source).max()) < 0.1


def test_points_lie_on_the_mask_and_are_symmetric() -> None:
    ids = choose_points(head(), "full_head", 200)
    areas = regions(head())
    assert torch.isin(ids, areas.full_head).all() and len(ids.unique()) == 200
    images = head().topology.symmetry[ids]
    assert torch.isin(images, ids).all()
    assert torch.isin(choose_points(head(), "upper_face", 100), areas.upper_face).all()
    for name in ("neck", "left_eyeball", "mouth_interior", "teeth"):
        assert not torch.isin(areas.full_head, head().topology.masks[name]).any()
    with pytest.raises(InputError, match="lower it"):
        choose_points(head(), "upper_face", 5000)


@pytest.mark.slow
def test_a_mesh_for_graph_networks_is_connected() -> None:
    ids, faces = choose_mesh(head(), "full_head", 300)
    assert len(ids) == 300 and faces.max() < 300 and len(np.unique(faces)) == 300


def test_a_head_without_regions_says_what_is_missing() -> None:
    arrays, meta = read_head(head_path("open-v1"))
    bare = HeadModel({k: v for k, v in arrays.items() if not k.startswith("mask.")}, meta)
    with pytest.raises(InputError, match="has no mask face and upper_face"):
        regions(bare)
