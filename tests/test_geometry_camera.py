"""Cameras: axes, crops as a change of camera, matrices of other programs projecting to the same pixels."""

from __future__ import annotations

import pytest
import torch

from facezoo.errors import InputError
from facezoo.geometry import (
    Camera,
    CropSpec,
    apply_affine,
    axis_angle_to_matrix,
    euler_to_matrix,
    invert_affine,
)

F64 = torch.float64
SIZE = (300, 400)
FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=F64))


def camera(kind: str = "perspective", batch: int = 5) -> Camera:
    g = torch.Generator().manual_seed(3)
    turn = axis_angle_to_matrix(0.5 * torch.randn(batch, 3, generator=g, dtype=F64))
    t = torch.tensor([0.02, -0.03, 0.7], dtype=F64) + 0.05 * torch.randn(batch, 3, generator=g, dtype=F64)
    k = Camera.default_K(*SIZE, focal=520.0 if kind == "perspective" else 900.0, dtype=F64).repeat(
        batch, 1, 1
    )
    k[:, 0, 1], k[:, 0, 2] = 3.0, 190.0  # skew and an off-centre principal point must survive everything
    return Camera(k, turn @ FLIP, t, SIZE, kind)  # type: ignore[arg-type]


def points() -> torch.Tensor:
    return 0.1 * torch.randn(5, 40, 3, generator=torch.Generator().manual_seed(4), dtype=F64)


def test_frontal_head_has_its_left_on_the_image_right_and_its_crown_up():
    cam = Camera(
        Camera.default_K(200, 300, dtype=F64), FLIP, torch.tensor([0.0, 0.0, 1.0], dtype=F64), (200, 300)
    )
    centre, left, top, nose = cam.project(
        torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0.1, 0, 0.1]], dtype=F64)
    )
    torch.testing.assert_close(centre, torch.tensor([150.0, 100.0], dtype=F64))
    assert left[0] > centre[0] and top[1] < centre[1]
    assert nose[0] > left[0]  # nearer, so larger
    assert float(cam.K[0, 0]) == pytest.approx((200**2 + 300**2) ** 0.5)
    assert [float(a) for a in cam.euler()] == [0, 0, 0]


def test_euler_of_a_camera_is_the_head_pose():
    angles = torch.tensor([0.4, -0.2, 0.1], dtype=F64)
    cam = Camera(torch.eye(3, dtype=F64), FLIP @ euler_to_matrix(*angles), torch.zeros(3, dtype=F64), (1, 1))
    torch.testing.assert_close(torch.stack(cam.euler()), angles)


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_a_crop_is_a_camera_change(kind: str):
    cam, x = camera(kind), points()
    boxes = torch.tensor([[50.0, 60, 180, 200]], dtype=F64).repeat(5, 1) + torch.arange(5, dtype=F64)[:, None]
    affine = CropSpec(size=96).affine(boxes, angle=0.3)
    cropped = cam.warped(affine, (96, 96))
    torch.testing.assert_close(cropped.project(x), apply_affine(cam.project(x), affine))
    back = cropped.warped(invert_affine(affine), SIZE)
    torch.testing.assert_close(back.K, cam.K)
    assert cropped.image_size == (96, 96) and back.image_size == SIZE


def normalised_to_pixels(convention: str, ndc: torch.Tensor) -> torch.Tensor:
    """Undo each program's viewport: written out here so that the test does not share code with the camera."""
    h, w = SIZE
    if convention == "pytorch3d":
        return torch.stack((w / 2 - ndc[..., 0] * h / 2, h / 2 - ndc[..., 1] * h / 2), -1)
    return torch.stack(((ndc[..., 0] + 1) * w / 2, (1 - ndc[..., 1]) * h / 2), -1)


@pytest.mark.parametrize("kind", ["perspective", "weak"])
@pytest.mark.parametrize("convention", ["opengl", "blender", "pytorch3d"])
def test_matrices_project_to_the_same_pixels_and_come_back(convention: str, kind: str):
    cam, x = camera(kind), points()
    view, projection = cam.matrices(convention)  # type: ignore[arg-type]
    world = torch.cat((x, torch.ones_like(x[..., :1])), -1)
    if convention == "blender":  # objects sit in a z-up world, the matrix is the camera's own placement
        world = torch.stack((x[..., 0], -x[..., 2], x[..., 1], torch.ones_like(x[..., 0])), -1)
        eye = world @ torch.linalg.inv(view).mT
        centre = view[0, :3, 3]
        head_centre = -(cam.R[0].mT @ cam.t[0])
        torch.testing.assert_close(centre, torch.stack((head_centre[0], -head_centre[2], head_centre[1])))
    else:
        eye = world @ view.mT
    clip = eye @ projection.mT
    torch.testing.assert_close(
        normalised_to_pixels(convention, clip[..., :2] / clip[..., 3:]), cam.project(x)
    )
    if convention == "opengl":
        assert bool((clip[..., 2].abs() < clip[..., 3]).all())  # inside the depth range
        assert bool((eye[..., 2] < 0).all())
    back = Camera.from_matrices(cam.matrices(convention), convention, SIZE)  # type: ignore[arg-type]
    assert back.kind == kind
    for name in ("K", "R", "t"):
        torch.testing.assert_close(getattr(back, name), getattr(cam, name), atol=1e-10, rtol=1e-10)


def test_opengl_depth_grows_with_distance():
    cam = Camera(torch.eye(3), torch.diag(torch.tensor([1.0, -1, -1])), torch.tensor([0.0, 0, 2]), (2, 2))
    view, projection = cam.matrices("opengl", near=0.5, far=10.0)
    world = torch.tensor([[0.0, 0, 1.5, 1], [0, 0, 0, 1], [0, 0, -8.0, 1]])
    clip = world @ view.mT @ projection.mT
    torch.testing.assert_close(
        clip[:, 2] / clip[:, 3], torch.tensor([-1.0, (clip[1, 2] / clip[1, 3]).item(), 1.0])
    )
    assert -1 < clip[1, 2] / clip[1, 3] < 1


def test_projection_has_exact_gradients():
    cam = camera(batch=1)
    x = points()[:1, :4].requires_grad_()
    k, r, t = (v.clone().requires_grad_() for v in (cam.K, cam.R, cam.t))
    assert torch.autograd.gradcheck(lambda x, k, r, t: Camera(k, r, t, SIZE).project(x), (x, k, r, t))


def test_indexing_and_casting():
    cam = camera()
    torch.testing.assert_close(cam[2].project(points()[2]), cam.project(points())[2])
    torch.testing.assert_close(cam[1:3].project(points()[1:3]), cam.project(points())[1:3])
    assert cam.to(torch.float32).K.dtype == torch.float32
    with pytest.raises(InputError, match="single view"):
        cam[0][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": torch.zeros(2, 2)}, "Camera.K"),
        ({"R": None}, "Camera.R"),
        ({"t": torch.zeros(4)}, "Camera.t"),
        ({"kind": "fisheye"}, "camera kind"),
        ({"image_size": (0, 5)}, "image_size"),
    ],
)
def test_bad_cameras_say_what_is_wrong(change: dict, message: str):
    good = {"K": torch.eye(3), "R": torch.eye(3), "t": torch.zeros(3), "image_size": (4, 4)}
    with pytest.raises(InputError, match=message):
        Camera(**{**good, **change})


def test_bad_convention_and_focal():
    with pytest.raises(InputError, match="Did you mean 'opengl'"):
        camera().matrices("open_gl")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="focal"):
        Camera.default_K(10, 10, focal=0.0)
