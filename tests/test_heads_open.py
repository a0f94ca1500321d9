"""The open head: its counts, its population, its expressions, its landmarks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.heads.open import anthropometry as ap
from facezoo.heads.open.check import (
    JUDGED,
    expression_report,
    sample_identities,
    size_table,
    turned_triangles,
)
from facezoo.heads.open.turntable import expression_params
from facezoo.heads.visible_contour import contour68, divide_evenly, visible_contour
from facezoo.mesh.topology import boundary_loops, components

SHARED = Path(os.environ.get("FACEZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
ARKIT = 52


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("open-v1")


def test_is_shaped_like_flame(head: HeadModel) -> None:
    faces = head.topology.faces.numpy()
    assert head.v_template.shape == (5023, 3)
    assert faces.shape == (9976, 3)
    assert head.n_identity >= 100
    part = components(faces, 5023)
    assert sorted(np.bincount(part)) == [546, 546, 3931]
    assert [len(loop) for loop in boundary_loops(faces)] == [60]  # the neck's rim and nothing else


def test_subsets_are_nested_and_symmetric(head: HeadModel) -> None:
    subsets, mirror = head.topology.subsets, head.topology.symmetry
    assert mirror is not None
    for size in (4757, 1609, 805, 403, 202, 101):
        ids = subsets[size]
        assert len(torch.unique(ids)) == size
        assert torch.equal(torch.sort(mirror[ids]).values, torch.sort(ids).values)
    for large, small in ((4757, 1609), (1609, 805), (805, 403), (403, 202), (202, 101)):
        assert bool(torch.isin(subsets[small], subsets[large]).all())


def test_symmetry_mirrors_the_mean_head_and_the_texture(head: HeadModel) -> None:
    mirror = head.topology.symmetry
    assert mirror is not None
    flipped = head.v_template[mirror] * torch.tensor([-1.0, 1.0, 1.0])
    # The mean holds a little of the population's asymmetry, which is zero up to rounding.
    assert float((flipped - head.v_template).norm(dim=1).max()) < 2e-5


def test_texture_coordinates_do_not_overlap(head: HeadModel) -> None:
    uv = head.topology.uv.numpy()[head.topology.uv_faces.numpy()]
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    assert uv.min() >= 0
    assert uv.max() <= 1
    eyeballs = head.topology.faces.numpy().min(1) >= 3931
    # One orientation throughout: the chart is a bijection, so is the texture.
    assert (np.sign(area[~eyeballs]) == np.sign(area[~eyeballs][0])).mean() > 0.999


def test_population_has_published_sizes(head: HeadModel) -> None:
    for row in size_table(head, 800):
        if row.measure in JUDGED:
            assert abs(row.mean / row.published_mean - 1) < 0.05, row
            assert abs(row.sd / row.published_sd - 1) < 0.15, row


def test_correlations_are_positive_definite() -> None:
    for sex in ap.SEXES:
        assert np.linalg.eigvalsh(ap.covariance(sex)).min() > 0


def test_expressions_are_arkit_mirror_and_leave_the_skull_still(head: HeadModel) -> None:
    names = head.params["expression"].names
    assert len(set(names) | set(head.meta["joint_shapes"])) == ARKIT
    found = expression_report(head)
    assert found["cranium moves"] < 0.1
    assert found["mirror error"] < 1e-3
    assert found["lids' gap at a blink"] < 0.3
    assert found["lips' gap at rest"] < 0.3
    assert found["lips' gap at jawOpen"] > 25
    assert found["lips' gap at jawOpen with mouthClose"] < 0.1 * found["lips' gap at jawOpen"]


def test_no_triangle_turns(head: HeadModel) -> None:
    assert sum(turned_triangles(head).values()) == 0


def test_identities_keep_eyeballs_round(head: HeadModel) -> None:
    ball = head.topology.mask("left_eyeball")
    vertices = head(HeadParams(identity=sample_identities(head, "mixed", 20)), vertices=ball).vertices
    centred = vertices - vertices.mean(1, keepdim=True)
    rest = head.v_template[ball] - head.v_template[ball].mean(0)
    assert float((centred - rest).norm(dim=-1).max()) < 2e-5


def test_eyes_turn_about_their_centres(head: HeadModel) -> None:
    ball = head.topology.mask("right_eyeball")
    still = head(HeadParams(identity=torch.zeros(1, head.n_identity)))
    params = expression_params(head, {"eyeLookDownRight": 1.0})
    moved = head(HeadParams(torch.zeros(1, head.n_identity), params.expression, right_eye=params.right_eye))
    joint = still.joints[0, 4]
    a, b = still.vertices[0, ball] - joint, moved.vertices[0, ball] - joint
    assert torch.allclose(a.norm(dim=1), b.norm(dim=1), atol=2e-5)
    front = int(a[:, 2].argmax())
    assert b[front, 1] < a[front, 1] - 0.003  # it looks down


def test_landmarks_follow_the_label_convention(head: HeadModel) -> None:
    path = SHARED / "data" / "label68_convention.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    wanted = np.array(json.loads(path.read_text())["mean"])
    found = head.landmarks(head.v_template[None], "ibug68")[0].numpy() * 1000
    distance = np.linalg.norm(found - wanted, axis=1)
    assert distance[17:48].mean() < 2.0
    assert distance.mean() < 2.5  # the labels' mean mouth is open, ours is closed


def test_contour_leaves_the_jaw_only_on_the_far_side(head: HeadModel) -> None:
    from facezoo.geometry.rotations import euler_to_matrix

    flat = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    jaw = head.landmarks(head.v_template[None], "ibug68")[0, :17]
    for yaw in (0.9, -0.9):
        R = euler_to_matrix(torch.tensor([yaw]), torch.zeros(1), torch.zeros(1))
        camera = head.v_template[None] @ R.mT + torch.tensor([0.0, 0.0, 2.0])
        points = visible_contour(head, camera, R)[0]
        away = (points - (jaw @ R[0].T + torch.tensor([0.0, 0.0, 2.0]))).norm(dim=1)
        # The subject's left side (points 9..16) is far when its camera depth is larger.
        left_far = bool((jaw @ R[0].T)[16, 2] > (jaw @ R[0].T)[0, 2])
        far, near = (away[9:], away[:8]) if left_far else (away[:8], away[9:])
        assert float(near.max()) < 2e-3
        assert float(far.max()) > 0.02
    frontal = visible_contour(
        head, head.v_template[None] @ flat.T + torch.tensor([0.0, 0.0, 2.0]), flat[None]
    )
    assert frontal.shape == (1, 17, 3)


def _image(points: torch.Tensor) -> torch.Tensor:
    return points[..., :2] / points[..., 2:]


@pytest.mark.parametrize("yaw", [0.0, 0.7, -1.3])
def test_2d_markup_divides_outline_and_brows_evenly(head: HeadModel, yaw: float) -> None:
    from facezoo.geometry.rotations import euler_to_matrix

    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ euler_to_matrix(
        torch.tensor([yaw]), torch.zeros(1), torch.zeros(1)
    )
    camera = head.v_template[None] @ R.mT + torch.tensor([0.0, 0.0, 1.5])
    found = contour68(head, camera, R)
    mesh = head.landmarks(camera, "ibug68")
    assert torch.equal(found[:, 27:], mesh[:, 27:])
    assert torch.allclose(found[:, 8], mesh[:, 8], atol=1e-6)  # the chin stays
    for first, last in ((0, 9), (8, 17), (17, 22), (22, 27)):
        steps = (_image(found[0, first + 1 : last]) - _image(found[0, first : last - 1])).norm(dim=1)
        # Chords of equal arcs: shorter where the line bends.
        assert float(steps.max() / steps.min()) < 1.6
    right, left = found[0, 21, 0] - mesh[0, 27, 0], found[0, 22, 0] - mesh[0, 27, 0]
    if yaw == 0.0:
        assert (
            0.010 < float(left) < 0.016 and 0.010 < -float(right) < 0.016
        )  # brows begin 12 mm from the midline


def test_division_is_exact_on_a_straight_line() -> None:
    line = torch.tensor([[[0.0, 0, 1], [0.1, 0, 1], [0.7, 0, 1], [1.0, 0, 1]]], dtype=torch.float64)
    assert torch.allclose(divide_evenly(line, 5)[0, :, 0], torch.linspace(0, 1, 5, dtype=torch.float64))
