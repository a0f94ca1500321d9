"""HeadModel against the reference implementations, its gradients, its fast path and its boundaries."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from heads_synthetic import flame_pack, random_head
from safetensors.torch import load_file

from facezoo.errors import InputError, UnknownNameError
from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads import lbs
from facezoo.heads.contour import contour_row
from facezoo.heads.flame import embedding_arrays, model_arrays
from facezoo.heads.model import HeadModel
from facezoo.heads.params import PARAM_NAMES, HeadParams
from facezoo.heads.pickle_safe import read_pickle


@pytest.fixture(scope="module")
def pack() -> dict[str, torch.Tensor]:
    return load_file(flame_pack() / "pack.safetensors")


@pytest.fixture(scope="module")
def flame() -> HeadModel:
    folder = flame_pack()
    arrays, n_identity = model_arrays(read_pickle(folder / "synthetic_flame.pkl"), "pack")
    with np.load(folder / "landmark_embedding.npz") as embedding:
        arrays |= embedding_arrays(dict(embedding), "pack")
    return HeadModel(arrays, {"head_id": "pack", "licence": "none", "n_identity": n_identity})


@pytest.fixture
def head() -> HeadModel:
    return HeadModel(*random_head())


def pack_params(pack: dict[str, torch.Tensor]) -> HeadParams:
    return HeadParams(
        identity=pack["betas"],
        expression=pack["expression"],
        rotation=pack["global_orient"],
        neck=pack["neck_pose"],
        jaw=pack["jaw_pose"],
        left_eye=pack["leye_pose"],
        right_eye=pack["reye_pose"],
    )


def random_params(head: HeadModel, size: int = 2, dtype: torch.dtype = torch.float32) -> HeadParams:
    g = torch.Generator().manual_seed(1)
    return HeadParams(
        **{n: 0.5 * torch.randn(size, s.size, generator=g, dtype=dtype) for n, s in head.params.items()}
    )


def test_equals_smplx(flame: HeadModel, pack: dict[str, torch.Tensor]) -> None:
    out = flame(pack_params(pack))
    torch.testing.assert_close(out.vertices, pack["vertices"], atol=1e-6, rtol=0)
    torch.testing.assert_close(out.joints, pack["joints.contour"][:, :5], atol=1e-6, rtol=0)


def test_rest_joints_equal_smplx(flame: HeadModel, pack: dict[str, torch.Tensor]) -> None:
    joints = flame(HeadParams(identity=pack["betas"], expression=pack["expression"])).joints
    torch.testing.assert_close(joints, pack["rest_joints_shaped"], atol=1e-6, rtol=0)


def test_rotations_equal_smplx(pack: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(axis_angle_to_matrix(pack["rod_in"]), pack["rod_out"], atol=1e-6, rtol=0)


def test_translation_comes_last(flame: HeadModel, pack: dict[str, torch.Tensor]) -> None:
    params = HeadParams(**dict(pack_params(pack).items()), translation=pack["transl"])
    out = flame(params)
    torch.testing.assert_close(out.vertices, pack["vertices_transl"], atol=1e-6, rtol=0)
    torch.testing.assert_close(out.joints, pack["joints_transl"][:, :5], atol=1e-6, rtol=0)


def test_equals_deca(flame: HeadModel, pack: dict[str, torch.Tensor]) -> None:
    pose = pack["deca.pose6"]
    params = HeadParams(pack["betas"], pack["expression"], rotation=pose[:, :3], jaw=pose[:, 3:])
    vertices = flame(params).vertices
    torch.testing.assert_close(vertices, pack["deca.vertices"], atol=1e-6, rtol=0)
    fixed = flame.landmarks(vertices, "ibug68")
    torch.testing.assert_close(fixed, pack["deca.landmarks3d"], atol=1e-6, rtol=0)
    seen = flame.contour_landmarks(vertices, flame.head_rotation(params), "deca")
    torch.testing.assert_close(seen, pack["deca.landmarks2d"], atol=1e-6, rtol=0)


def test_contour_equals_smplx(flame: HeadModel, pack: dict[str, torch.Tensor]) -> None:
    params = pack_params(pack)
    # smplx leaves the neck out of the contour's rotation and puts the contour last.
    rotation = flame.head_rotation(HeadParams(rotation=params.rotation))
    seen = flame.contour_landmarks(flame(params).vertices, rotation, "smplx")
    reference = pack["joints.contour"][:, 5:]
    torch.testing.assert_close(seen, torch.cat([reference[:, 51:], reference[:, :51]], 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("convention", ["smplx", "deca"])
def test_contour_rows_equal_reference(pack: dict[str, torch.Tensor], convention: str) -> None:
    yaw = torch.deg2rad(pack["sweep.yaw_deg"])
    turns = axis_angle_to_matrix(torch.stack([yaw * 0, yaw, yaw * 0], 1))
    assert torch.equal(contour_row(turns, convention), pack[f"sweep.row_{convention}"])
    rows = contour_row(axis_angle_to_matrix(pack["global_orient"]), convention)
    assert torch.equal(rows, pack[f"dyn_table_row.{convention}"])


def test_conventions_agree_on_a_picture() -> None:
    """A head turned to its left, in axes with z to the viewer and in OpenCV's and PyTorch3D's with z away."""
    yaw = torch.deg2rad(torch.arange(-38.0, 39.0, 2.0))
    turns = axis_angle_to_matrix(torch.stack([yaw * 0, yaw, yaw * 0], 1))
    rows = contour_row(turns, "deca")
    assert rows[-1] == 38 and rows[0] == 77
    for camera in ([1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]):
        assert torch.equal(contour_row(torch.diag(torch.tensor(camera)) @ turns, "smplx"), rows)


def test_contour_rows_saturate() -> None:
    yaw = torch.deg2rad(torch.tensor([-50.0, -39.0, -1.0, 0.0, 39.0, 60.0]))
    turns = axis_angle_to_matrix(torch.stack([yaw * 0, yaw, yaw * 0], 1))
    assert contour_row(turns, "deca").tolist() == [78, 78, 40, 0, 39, 39]
    with pytest.raises(InputError, match="convention"):
        contour_row(turns, "opengl")


def test_gradients_equal_smplx(flame: HeadModel, pack: dict[str, torch.Tensor]) -> None:
    params = pack_params(pack).map(lambda value: value.clone().requires_grad_())
    (flame(params).vertices * pack["grad.c"]).sum().backward()
    pairs = {"identity": "betas", "expression": "expression", "jaw": "jaw_pose", "rotation": "global_orient"}
    for name, key in pairs.items():
        grad = getattr(params, name).grad
        assert grad.isfinite().all()  # sample 0 has zero rotations
        torch.testing.assert_close(grad, pack[f"grad.{key}"], atol=1e-5, rtol=1e-4)


def test_gradcheck(head: HeadModel) -> None:
    head = head.double()
    values = [value.requires_grad_() for _, value in random_params(head, 2, torch.float64).items()]

    def run(*given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(head(HeadParams(**dict(zip(PARAM_NAMES, given, strict=True)))))

    assert torch.autograd.gradcheck(run, values)


def test_gradcheck_at_zero_pose(head: HeadModel) -> None:
    head = head.double()
    pose = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: head(HeadParams(rotation=p, jaw=p, left_eye=p)).vertices, pose)


@pytest.mark.parametrize("ids", [[3, 0, 29, 3], list(range(30))])
def test_subset_equals_rows_of_all(head: HeadModel, ids: list[int]) -> None:
    params = random_params(head)
    chosen = torch.tensor(ids)
    full, part = head(params), head(params, chosen)
    torch.testing.assert_close(part.vertices, full.vertices[:, chosen], atol=1e-6, rtol=0)
    torch.testing.assert_close(part.joints, full.joints, atol=0, rtol=0)


def test_subset_rows_are_kept_and_renewed(head: HeadModel) -> None:
    params, chosen = random_params(head), torch.tensor([1, 2, 3])
    before = head(params, chosen).vertices
    assert head.rows(chosen).template is head.rows(chosen).template
    chosen[0] = 9  # an edit in place asks for other vertices
    after = head(params, chosen).vertices
    torch.testing.assert_close(after[:, 0], head(params).vertices[:, 9], atol=1e-6, rtol=0)
    assert not torch.equal(before[:, 0], after[:, 0])
    head.double()
    assert head.rows(chosen).template.dtype == torch.float64


def test_many_subsets_do_not_pile_up(head: HeadModel) -> None:
    subsets = [torch.tensor([i]) for i in range(20)]
    for _ in range(2):
        for i, subset in enumerate(subsets):
            assert torch.equal(head.rows(subset).template[0], head.v_template[i])
    assert len(head._rows) <= 8


def test_subset_rows_from_inference_mode_allow_gradients(head: HeadModel) -> None:
    with torch.inference_mode():
        chosen = torch.tensor([4, 5])
        head(random_params(head), chosen)
    jaw = torch.zeros(1, 3, requires_grad=True)
    head(HeadParams(jaw=jaw), chosen).vertices.sum().backward()
    assert jaw.grad is not None and jaw.grad.isfinite().all()


def test_nothing_given_is_the_template(head: HeadModel) -> None:
    out = head(HeadParams())
    assert torch.equal(out.vertices[0], head.v_template)
    torch.testing.assert_close(out.joints[0], head.J_regressor @ head.v_template, atol=1e-7, rtol=0)


def test_fewer_coefficients_are_zero_padded(head: HeadModel) -> None:
    params = random_params(head)
    assert params.identity is not None
    padded = params.identity.clone()
    padded[:, 2:] = 0
    short = head(HeadParams(identity=params.identity[:, :2], jaw=params.jaw)).vertices
    torch.testing.assert_close(short, head(HeadParams(identity=padded, jaw=params.jaw)).vertices)


def test_root_rotation_is_rigid_about_joint_0(head: HeadModel) -> None:
    params = random_params(head)
    still = HeadParams(**{n: v for n, v in params.items() if n not in ("rotation", "translation")})
    moved = HeadParams(**dict(still.items()), rotation=params.rotation)
    a, b = head(still), head(moved)
    assert params.rotation is not None
    turn = axis_angle_to_matrix(params.rotation)
    root = a.joints[:, :1]
    torch.testing.assert_close(
        b.vertices, (a.vertices - root) @ turn.transpose(1, 2) + root, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(b.joints[:, 0], a.joints[:, 0], atol=1e-7, rtol=0)


def test_eyes_and_jaw_leave_other_joints_alone(head: HeadModel) -> None:
    turn = torch.tensor([[0.1, 0.2, 0.0]])
    rest = head(HeadParams()).joints
    for name in ("jaw", "left_eye", "right_eye"):
        torch.testing.assert_close(head(HeadParams(**{name: turn})).joints, rest, atol=1e-7, rtol=0)


def test_batch_rows_are_independent(head: HeadModel) -> None:
    params = random_params(head, 3)
    whole = head(params).vertices
    for i in range(3):
        torch.testing.assert_close(head(params[i]).vertices[0], whole[i], atol=1e-6, rtol=0)
    joined = HeadParams.cat([params[0], params[1:]])
    torch.testing.assert_close(head(joined).vertices, whole, atol=1e-6, rtol=0)


def test_one_row_serves_the_batch(head: HeadModel) -> None:
    params = random_params(head, 1)
    jaws = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    out = head(HeadParams(identity=params.identity, jaw=jaws)).vertices
    one = head(HeadParams(identity=params.identity, jaw=jaws[2:3])).vertices
    torch.testing.assert_close(out[2:3], one, atol=1e-6, rtol=0)


def test_cat_fills_with_zeros() -> None:
    joined = HeadParams.cat([HeadParams(jaw=torch.ones(2, 3)), HeadParams(identity=torch.ones(1, 4))])
    assert joined.jaw is not None and joined.identity is not None
    assert joined.jaw.tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3]
    assert joined.identity.sum() == 4 and joined.batch_size == 3


def test_landmarks_move_with_the_mesh(head: HeadModel) -> None:
    vertices = head(random_params(head)).vertices
    step = torch.tensor([0.1, -0.2, 0.3])
    before = head.landmarks(vertices, "ibug6")
    torch.testing.assert_close(head.landmarks(vertices + step, "ibug6"), before + step)
    ids, corners = head.topology.landmark_vertices("ibug6")
    part = head(random_params(head), vertices=ids).vertices[:, corners]
    bary = head.topology.landmarks["ibug6"].bary
    torch.testing.assert_close((part * bary[..., None]).sum(2), before, atol=1e-6, rtol=0)


def test_state_dict_carries_no_array(head: HeadModel) -> None:
    class Owner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head
            self.scale = torch.nn.Parameter(torch.ones(1))

    assert not head.state_dict()
    assert list(Owner().state_dict()) == ["scale"]
    assert not list(head.parameters())


def test_moves_and_copies_are_whole(head: HeadModel) -> None:
    twin = head.shared_copy()
    assert twin.shapedirs.data_ptr() == head.shapedirs.data_ptr()
    twin.double()
    assert head.v_template.dtype == torch.float32 and twin.topology.uv.dtype == torch.float64
    assert twin.topology.faces.dtype == torch.long and head.topology.uv.dtype == torch.float32
    params = random_params(head)
    deep = copy.deepcopy(head)
    torch.testing.assert_close(deep(params).vertices, head(params).vertices)
    torch.testing.assert_close(
        twin(params.to(torch.float64)).vertices.float(), head(params).vertices, atol=1e-6, rtol=0
    )
    meta = head.shared_copy().to("meta")
    assert meta.topology.faces.device.type == "meta" and meta.v_template.device.type == "meta"


def test_autocast_keeps_precision(head: HeadModel) -> None:
    params = random_params(head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = head(params).vertices
    torch.testing.assert_close(out, head(params).vertices, atol=0, rtol=0)


def test_params_describe_the_head(head: HeadModel) -> None:
    assert tuple(head.params) == PARAM_NAMES
    spec = head.params["identity"]
    assert spec.size == 4 and spec.names[1] == "shape001" and torch.equal(spec.sigma, torch.ones(4))
    assert head.params["expression"].names == ("expr000", "expr001", "expr002")
    assert head.params["rotation"].sigma.isinf().all() and head.params["jaw"].sigma.isfinite().all()
    arrays, meta = random_head()
    meta |= {
        "expression_bounds": [[0, 1]] * 3,
        "identity_sigma": [1, 2, 3, 4],
        "joint_sigma": {"jaw": [1, 1, 1]},
    }
    custom = HeadModel(arrays, meta).params
    bounds = custom["expression"].bounds
    assert bounds is not None and bounds.shape == (3, 2)
    assert custom["identity"].sigma.tolist() == [1, 2, 3, 4] and custom["jaw"].sigma.tolist() == [1, 1, 1]
    assert {spec.sigma.dtype for spec in custom.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("params", "match"),
    [
        (HeadParams(identity=torch.zeros(1, 9)), "k <= 4"),
        (HeadParams(jaw=torch.zeros(1, 2)), "jaw"),
        (HeadParams(jaw=torch.zeros(3)), r"\(B, n\)"),
        (HeadParams(jaw=torch.zeros(2, 3), neck=torch.zeros(3, 3)), "rows"),
        (HeadParams(jaw=torch.zeros(1, 3, dtype=torch.float64)), "double"),
        (HeadParams(jaw=torch.zeros(1, 3, dtype=torch.long)), "int64"),
    ],
)
def test_bad_params_are_named(head: HeadModel, params: HeadParams, match: str) -> None:
    with pytest.raises(InputError, match=match):
        head(params)


@pytest.mark.parametrize(
    "ids", [torch.tensor([30]), torch.tensor([-1]), torch.tensor([1.0]), torch.tensor([[1]])]
)
def test_bad_vertices_are_named(head: HeadModel, ids: torch.Tensor) -> None:
    with pytest.raises(InputError, match="vertices must be"):
        head(HeadParams(), ids)


def test_unknown_names_suggest_the_nearest(head: HeadModel) -> None:
    vertices = head(HeadParams()).vertices
    with pytest.raises(UnknownNameError, match="Did you mean 'ibug6'"):
        head.landmarks(vertices, "ibug_6")
    with pytest.raises(UnknownNameError, match="'face'"):
        head.topology.mask("fase")
    with pytest.raises(UnknownNameError, match="7"):
        head.topology.subset(8)
    with pytest.raises(InputError, match=r"\(B, 30, 3\)"):
        head.landmarks(vertices[:, :4], "ibug6")


def test_importing_the_package_needs_no_torch() -> None:
    code = "import sys, facezoo.heads; assert 'torch' not in sys.modules; facezoo.heads.HeadParams"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_blend_uses_leading_columns_only() -> None:
    g = torch.Generator().manual_seed(0)
    base, directions = torch.randn(5, 3, generator=g), torch.randn(5, 3, 4, generator=g)
    coefficients = torch.randn(2, 3, generator=g)
    want = base + torch.einsum("bk,vck->bvc", coefficients, directions[..., :3])
    torch.testing.assert_close(lbs.blend(base, directions, coefficients), want)
