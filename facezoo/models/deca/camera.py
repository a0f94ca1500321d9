"""DECA's weak perspective and its relation to :class:`facezoo.geometry.Camera`.

A posed point (x, y, z) of the head, metres and y up, is seen at ``s (x + t_x, y + t_y)``, with depth ``s z``; then y
and z change sign, so that the picture's y points down and smaller z is nearer. The picture spans [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.geometry.camera import Camera
from facezoo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

# Where a weak camera stands, metres before the head's origin: any depth gives the same picture; renderers want z > 0.
DISTANCE = 1.0


def project(points: Tensor, camera: Tensor) -> Tensor:
    """Scale and move posed points, y still up.

    Args:
        points: (B, N, 3) metres, after the head's own rotation.
        camera: (B, 3) scale (1 / metre) and translation (metres), which is added before the scale.

    Returns:
        (B, N, 3).
    """
    moved = torch.cat([points[..., :2] + camera[:, None, 1:], points[..., 2:]], -1)
    return camera[:, :1, None] * moved


def to_image_axes(projected: Tensor) -> Tensor:
    """Turn :func:`project`'s points into the picture's axes: x right, y down, z away from the viewer, in [-1, 1]."""
    return projected * projected.new_tensor([1.0, -1.0, -1.0])


def to_screen(points: Tensor, camera: Tensor, size: int) -> Tensor:
    """Return posed points (B, N, 3) as :func:`facezoo.render.rasterize` wants them: pixels, and depth > 0."""
    seen = to_image_axes(project(points, camera))
    return torch.cat([(seen[..., :2] * 0.5 + 0.5) * size, DISTANCE - points[..., 2:]], -1)


def weak_camera(camera: Tensor, rotation: Tensor, joint: Tensor, size: int) -> Camera:
    """Return the camera of a crop for vertices in the head's own frame.

    Args:
        camera: (B, 3) code.
        rotation: (B, 3) axis-angle of the root joint, which becomes part of the camera.
        joint: (B, 3) the root joint of the unrotated head, which the rotation leaves in place; metres.
        size: side of the crop in pixels.

    Returns:
        A weak camera: ``project(vertices)`` gives crop pixels, y down.
    """
    flip = camera.new_tensor([1.0, -1.0, -1.0])
    turn = axis_angle_to_matrix(rotation)
    offset = joint - (turn @ joint[..., None]).squeeze(-1)
    offset = torch.cat([offset[:, :2] + camera[:, 1:], offset[:, 2:]], 1) * flip
    offset = offset + offset.new_tensor([0.0, 0.0, DISTANCE])
    K = torch.zeros(len(camera), 3, 3, dtype=camera.dtype, device=camera.device)
    K[:, 0, 0] = K[:, 1, 1] = camera[:, 0] * size / 2
    K[:, 0, 2] = K[:, 1, 2] = size / 2
    K[:, 2, 2] = 1
    return Camera(K, flip[:, None] * turn, offset, (size, size), "weak")


def camera_codes(camera: Camera, joint: Tensor) -> tuple[Tensor, Tensor]:
    """Invert :func:`weak_camera`: the root's axis-angle (B, 3) and the camera code (B, 3) of a crop's weak camera.

    Raises:
        InputError: the camera is not weak, its picture not square, or its pixels have skew or unequal sides.
    """
    K, (height, width) = camera.K, camera.image_size
    if camera.kind != "weak" or height != width:
        raise InputError(
            f"DECA's camera is a weak one of a square crop; got a {camera.kind} one of {width} × {height}."
        )
    square = K[:, 0, 0] - K[:, 1, 1], K[:, 0, 1], K[:, 1, 0]
    if any(bool((x.abs() > 1e-4 * K[:, 0, 0]).any()) for x in square):
        raise InputError(
            "DECA's camera has square pixels without skew; rotate the head, not the crop's axes."
        )
    flip = K.new_tensor([1.0, -1.0, -1.0])
    turn = flip[:, None] * camera.R
    centre = (K[:, :2, 2] - width / 2) / K[:, :1, 0]  # a crop off the middle is a translation
    offset = (camera.t + torch.nn.functional.pad(centre, (0, 1))) * flip
    shift = (offset - joint + (turn @ joint[..., None]).squeeze(-1))[:, :2]
    return matrix_to_axis_angle(turn), torch.cat([2 * K[:, :1, 0] / width, shift], 1)


def fit_camera(posed: Tensor, target: Tensor) -> Tensor:
    """Find the camera code that shows posed points nearest to given places, in closed form.

    Args:
        posed: (B, N, 3) after the head's own rotation, metres, y up.
        target: (B, N, 2) in [-1, 1], y down.

    Returns:
        (B, 3).
    """
    source, aim = posed[..., :2], target * target.new_tensor([1.0, -1.0])
    centre, middle = source.mean(1, keepdim=True), aim.mean(1, keepdim=True)
    spread = (source - centre).square().sum((1, 2)).clamp_min(1e-12)
    scale = ((source - centre) * (aim - middle)).sum((1, 2)) / spread
    return torch.cat([scale[:, None], middle[:, 0] / scale[:, None] - centre[:, 0]], 1)
