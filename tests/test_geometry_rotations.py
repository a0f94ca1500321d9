"""Rotations: round trips, poles, gradients, parity with the official pose decodings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from scipy.spatial.transform import Rotation

from facezoo.errors import InputError
from facezoo.geometry import rotations as rot
from facezoo.geometry.pose_compat import decode_euler_compat, split_pose_matrix

SHARED = Path(os.environ.get("FACEZOO_SHARED", Path(__file__).parents[2] / "shared"))
PACK = SHARED / "parity" / "camera-pose" / "pack.safetensors"


@pytest.fixture(scope="module")
def pack() -> dict[str, torch.Tensor]:
    if not PACK.exists():
        pytest.skip(f"parity pack camera-pose is not at {PACK}")
    from safetensors.torch import load_file

    return load_file(PACK)


def vectors(n: int = 64) -> torch.Tensor:
    """Axis-angle vectors of all sizes: zero, tiny, around the series switch, generic and nearly π."""
    g = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(n, 3, generator=g, dtype=torch.float64), dim=-1)
    angles = torch.tensor(
        [0.0, 1e-12, 1e-6, 1e-3, 0.0099, 0.0101, 0.5, 1.5, 3.0, 3.1415926], dtype=torch.float64
    )
    return axis * angles[torch.arange(n) % len(angles), None]


def test_axis_angle_matches_scipy_and_round_trips():
    v = vectors()
    r = rot.axis_angle_to_matrix(v)
    torch.testing.assert_close(
        r, torch.from_numpy(Rotation.from_rotvec(v.numpy()).as_matrix()), atol=1e-13, rtol=0
    )
    torch.testing.assert_close(rot.matrix_to_axis_angle(r), v, atol=2e-8, rtol=0)
    assert float(rot.matrix_to_axis_angle(r.float()).sub(v.float())[v.norm(dim=-1) < 3.1].abs().max()) < 2e-6


def test_half_turns_come_back_as_the_same_rotation():
    v = torch.pi * torch.eye(3, dtype=torch.float64)
    r = rot.axis_angle_to_matrix(v)
    back = rot.matrix_to_axis_angle(r)
    torch.testing.assert_close(rot.axis_angle_to_matrix(back), r, atol=1e-12, rtol=0)
    torch.testing.assert_close(back.norm(dim=-1), torch.full((3,), torch.pi, dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 5e-3, 0.3, 3.0])
def test_gradients_are_exact_and_finite(angle: float):
    v = torch.tensor([[0.6, -0.0, 0.8]], dtype=torch.float64).mul(angle).requires_grad_()
    assert torch.autograd.gradcheck(rot.axis_angle_to_matrix, v)
    assert torch.autograd.gradgradcheck(rot.axis_angle_to_matrix, v)
    assert torch.autograd.gradcheck(lambda x: rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(x)), v)


def test_6d_round_trip_and_its_layout():
    r = rot.axis_angle_to_matrix(vectors())
    d6 = rot.matrix_to_6d(r)
    torch.testing.assert_close(d6[:, 3:], r[:, 1])
    torch.testing.assert_close(rot.matrix_from_6d(d6 * 3), r)
    stretched = rot.matrix_from_6d(
        torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    torch.testing.assert_close(stretched @ stretched.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(stretched), torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, 3.14159265])
def test_geodesic_angle_is_accurate_everywhere(angle: float):
    base = rot.axis_angle_to_matrix(vectors(1) + 0.7)
    turn = rot.axis_angle_to_matrix(torch.tensor([[0.0, angle * 0.6, angle * 0.8]], dtype=torch.float64))
    assert float(rot.geodesic_angle(base, base @ turn)) == pytest.approx(angle, rel=1e-7, abs=2e-8)


def test_euler_round_trips_and_says_where_the_face_looks():
    g = torch.Generator().manual_seed(2)
    yaw = (torch.rand(100, generator=g, dtype=torch.float64) - 0.5) * 3.1
    pitch, roll = ((torch.rand(100, generator=g, dtype=torch.float64) - 0.5) * 6.2 for _ in range(2))
    for given, back in zip(
        (yaw, pitch, roll), rot.matrix_to_euler(rot.euler_to_matrix(yaw, pitch, roll)), strict=True
    ):
        torch.testing.assert_close(back, given)
    zero, some = torch.zeros((), dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    assert rot.euler_to_matrix(some, zero, zero)[0, 2] < 0  # the face's z axis points to the image's left
    assert rot.euler_to_matrix(zero, some, zero)[1, 2] > 0  # up
    assert rot.euler_to_matrix(zero, zero, some)[0, 1] > 0  # the crown tilts to the right


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_euler_at_the_pole_still_gives_the_rotation(sign: float):
    angles = torch.tensor([sign * torch.pi / 2, 0.4, 0.2], dtype=torch.float64)
    r = rot.euler_to_matrix(*angles)
    torch.testing.assert_close(rot.euler_to_matrix(*rot.matrix_to_euler(r)), r, atol=1e-12, rtol=0)


def test_shapes_are_checked():
    with pytest.raises(InputError, match=r"\(3,\)"):
        rot.axis_angle_to_matrix(torch.zeros(4))
    with pytest.raises(InputError, match=r"\(3, 3\)"):
        rot.matrix_to_euler(torch.zeros(4, 3))


def test_euler_equals_the_labels_of_aflw2000(pack: dict[str, torch.Tensor]):
    pitch, yaw, roll = pack["Pose_Para"][:, :3].unbind(-1)
    torch.testing.assert_close(rot.euler_to_matrix(yaw, pitch, roll), pack["R"], atol=1e-9, rtol=0)
    for given, label in zip(rot.matrix_to_euler(pack["R"]), (yaw, pitch, roll), strict=True):
        torch.testing.assert_close(given, label, atol=1e-9, rtol=0)


@pytest.mark.parametrize("decoding", ["3ddfa_v1", "3ddfa_v2", "synergynet"])
def test_official_decodings(pack: dict[str, torch.Tensor], decoding: str):
    scale, rotation, translation = split_pose_matrix(pack["fixed.P"])
    for ours, theirs in ((scale, "s"), (rotation, "R"), (translation, "t")):
        torch.testing.assert_close(ours, pack[f"fixed.{theirs}"], atol=1e-9, rtol=0)
    for prefix, matrix in (("fixed.", rotation), ("", split_pose_matrix(pack["P"])[1])):
        angles = torch.stack(decode_euler_compat(matrix, decoding), -1).rad2deg()  # type: ignore[arg-type]
        torch.testing.assert_close(angles, pack[f"{prefix}angles_{decoding}_deg"], atol=1e-9, rtol=0)


def test_the_official_yaw_is_not_the_label(pack: dict[str, torch.Tensor]):
    first, second, third = decode_euler_compat(pack["R"], "synergynet")
    yaw, pitch, roll = rot.matrix_to_euler(pack["R"])
    torch.testing.assert_close(second, pitch, atol=1e-9, rtol=0)
    torch.testing.assert_close(third, roll, atol=1e-9, rtol=0)
    assert float((first - yaw).abs().rad2deg().mean()) == pytest.approx(1.61, abs=0.01)
