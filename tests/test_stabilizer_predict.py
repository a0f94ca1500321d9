"""predict: exact where it can be exact, whatever the weights; the shipped weights beat every baseline."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from stabilizer_fakes import SMALL, head, moves, wild_model

from facezoo.errors import AssetError, InputError
from facezoo.mesh.io import write_mesh
from facezoo.mesh.mesh import Mesh
from facezoo.models.load import load
from facezoo.models.stabilizer import PairConfig, RigidTransform, StabilizerModel
from facezoo.models.stabilizer.criterion import distances
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.models.stabilizer.predict import SkullStabilizer


@pytest.fixture(scope="module")
def whole() -> PairSampler:
    return PairSampler(head(), torch.arange(head().n_vertices), PairConfig(pool=128), seed=31)


@pytest.fixture(scope="module")
def wild() -> SkullStabilizer:
    return wild_model()


def worst(a: RigidTransform, b: RigidTransform, points: torch.Tensor) -> float:
    return float(distances(a.to(torch.double), b.to(torch.double), points.double()).max())


def test_random_weights_say_something(wild: SkullStabilizer, whole: PairSampler) -> None:
    pairs = whole(0, 4)
    silent = wild_model()
    torch.nn.init.zeros_(silent.net.pose.weight)
    torch.nn.init.zeros_(silent.net.pose.bias)
    torch.nn.init.zeros_(silent.net.direct.weight)
    a, b = (m.predict(pairs.source, pairs.target) for m in (wild, silent))
    assert worst(a, b, pairs.source) > 0.5  # or the tests below would only test the alignment


def test_a_mesh_and_itself_give_the_identity(wild: SkullStabilizer, whole: PairSampler) -> None:
    mesh = whole(0, 3).source
    assert worst(wild.predict(mesh, mesh), RigidTransform.identity((3,), mesh), mesh) < 0.005


def test_a_rigid_motion_is_found_exactly(wild: SkullStabilizer, whole: PairSampler) -> None:
    mesh, motion = whole(0, 3).source, moves(3)
    assert worst(wild.predict(mesh, motion.apply(mesh)), motion, mesh) < 0.01


def test_there_and_back_is_nowhere(wild: SkullStabilizer, whole: PairSampler) -> None:
    pairs = whole(1, 6)
    there, back = wild.predict(pairs.source, pairs.target), wild.predict(pairs.target, pairs.source)
    assert worst(back @ there, RigidTransform.identity((6,), pairs.source), pairs.source) < 0.01


def test_a_common_motion_changes_nothing(wild: SkullStabilizer, whole: PairSampler) -> None:
    pairs, motion = whole(2, 4), moves(4)
    still = wild.predict(pairs.source, pairs.target)
    moved = wild.predict(motion.apply(pairs.source), motion.apply(pairs.target))
    assert worst(motion.inverse() @ moved @ motion, still, pairs.source) < 0.01


def test_without_symmetry_there_and_back_differ(whole: PairSampler) -> None:
    lopsided = wild_model(dataclasses.replace(SMALL, symmetric=False))
    pairs = whole(1, 6)
    there = lopsided.predict(pairs.source, pairs.target)
    back = lopsided.predict(pairs.target, pairs.source)
    assert worst(back @ there, RigidTransform.identity((6,), pairs.source), pairs.source) > 0.1


def test_an_untrained_network_is_the_alignment(whole: PairSampler) -> None:
    pairs = whole(0, 4)
    model = StabilizerModel.for_training(SMALL).eval()
    output = model.net(*(torch.randn(4, SMALL.points, 3) for _ in range(2)))
    assert torch.equal(output.R, torch.eye(3).expand(4, 3, 3)) and not output.t.any()
    assert (
        worst(
            model.between(model.points(pairs.source), model.points(pairs.target)), pairs.truth, pairs.source
        )
        < 15
    )


def test_all_kinds_of_meshes_are_taken(wild: SkullStabilizer, whole: PairSampler, tmp_path: Path) -> None:
    pairs = whole(0, 2)
    a, b = pairs.source, pairs.target
    expected = wild.predict(a, b)
    assert expected.R.shape == (2, 3, 3)
    one = wild.predict(a[0], b[0])
    assert one.R.shape == (3, 3) and torch.allclose(one.t, expected.t[0], atol=1e-6)
    mesh = Mesh(vertices=a[0], faces=head().topology.faces)
    files = [write_mesh(tmp_path / f"a{suffix}", mesh) for suffix in (".ply", ".npz")]
    for given in (a[0].numpy(), a[0].double(), mesh, *files, str(files[0])):
        assert torch.allclose(wild.predict(given, b[0]).t, one.t, atol=1e-6)
    assert wild.predict(a[0], b).R.shape == (2, 3, 3)  # one source for many targets


def test_what_cannot_be_used_is_refused(wild: SkullStabilizer, whole: PairSampler) -> None:
    mesh = whole(0, 1).source[0]
    with pytest.raises(InputError, match=r"expected 5023 vertices.*recipe=stabilizer head=ID"):
        wild.predict(mesh[:100], mesh[:100])
    with pytest.raises(InputError, match="scale it to metres"):
        wild.predict(1000 * mesh, mesh)
    with pytest.raises(InputError, match="not finite"):
        wild.predict(torch.full_like(mesh, torch.nan), mesh)
    with pytest.raises(AssetError, match="cannot read"):
        wild.predict("nowhere.ply", mesh)
    with pytest.raises(InputError, match=r"\(V, 3\)"):
        wild.predict(mesh[0], mesh)


def test_a_checkpoint_holds_nothing_of_the_head(
    wild: SkullStabilizer, whole: PairSampler, tmp_path: Path
) -> None:
    wild.save_pretrained(tmp_path)
    again = SkullStabilizer.from_pretrained(tmp_path)
    pairs = whole(0, 2)
    assert torch.equal(again.ids, wild.ids)
    assert torch.equal(
        again.predict(pairs.source, pairs.target).t, wild.predict(pairs.source, pairs.target).t
    )
    shapes = {tuple(v.shape) for v in again.state_dict().values()}
    assert (SMALL.points, 3) not in shapes and not any(head().n_vertices in shape for shape in shapes)


def test_the_shipped_weights_meet_the_goals(whole: PairSampler) -> None:
    model = load("skull-stabilizer", device="cpu")
    assert isinstance(model, SkullStabilizer)
    pairs = whole.held_out(5, 64)
    upper = whole.areas.upper_face
    found = model.predict(pairs.source, pairs.target)
    md = float(distances(found, pairs.truth, pairs.clean)[:, upper].mean())
    aligned = _procrustes(pairs.source, pairs.target, upper)
    baseline = float(distances(aligned, pairs.truth, pairs.clean)[:, upper].mean())
    assert md < 0.5 and md < baseline / 3
    assert model.info["trained_on"]["source"] == "pairs"


def _procrustes(source: torch.Tensor, target: torch.Tensor, ids: torch.Tensor) -> RigidTransform:
    from facezoo.geometry import align

    found = align(source[:, ids], target[:, ids], scale=False)
    return RigidTransform(found.R, found.t)
