"""FLAME's jaw line along the visible contour: a table of surface points, one row a degree of yaw."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.heads.topology import ContourTable

_LAST_DEGREE = 39
_SIGNS = {"smplx": -1.0, "deca": 1.0}


def contour_row(rotation: Tensor, convention: str) -> Tensor:
    """Choose the table row for a head rotation; not differentiable.

    The yaw is ``atan2(-R20, sqrt(R00² + R10²))`` in degrees, rounded half to even and clamped to ±39; rows
    0..39 hold 0..39 degrees, rows 40..78 hold -1..-39. The sign depends on the axes that the rotation leads to:

    * ``"smplx"`` (smplx, FLAME_PyTorch, metrical-tracker): MINUS the yaw, for a camera with z INTO the picture, as
      this library's head-to-camera rotation (OpenCV axes) or PyTorch3D's.
    * ``"deca"`` (DECA, MICA, photometric_optimization): PLUS the yaw, for axes with y up and z to the viewer, as
      FLAME's own; DECA flips y and z only after the projection.

    Used so, both choose the same row for the same picture: ``"smplx"`` of ``diag(1, -1, -1) @ R`` is ``"deca"`` of
    R, and FLAME's rows count degrees that the head turns to its left. The other sign puts the contour on the wrong
    cheek. The open head's table counts turns to the head's right, so it wants the other name of the two.

    Args:
        rotation: (B, 3, 3).
        convention: "smplx" or "deca".

    Returns:
        (B,) long.

    Raises:
        InputError: wrong shape or unknown convention.
    """
    if convention not in _SIGNS:
        raise InputError(f"contour convention must be one of {', '.join(_SIGNS)}, got {convention!r}.")
    if rotation.ndim != 3 or rotation.shape[1:] != (3, 3):
        raise InputError(f"rotation must be (B, 3, 3), got {tuple(rotation.shape)}.")
    r = rotation.detach()
    yaw = torch.atan2(-r[:, 2, 0], torch.hypot(r[:, 0, 0], r[:, 1, 0]))
    degrees = torch.rad2deg(_SIGNS[convention] * yaw).round().long().clamp(-_LAST_DEGREE, _LAST_DEGREE)
    return torch.where(degrees < 0, _LAST_DEGREE - degrees, degrees)


def contour_landmarks(
    vertices: Tensor, faces: Tensor, table: ContourTable, rotation: Tensor, convention: str
) -> Tensor:
    """Read the contour points off posed vertices.

    Args:
        vertices: (B, V, 3).
        faces: (F, 3) triangles of the head.
        table: the yaw table.
        rotation: (B, 3, 3), see :func:`contour_row`.
        convention: "smplx" or "deca".

    Returns:
        (B, 17, 3), from the subject's right ear over the chin to the left.

    Raises:
        InputError: as :func:`contour_row`, or another batch size than the vertices'.
    """
    row = contour_row(rotation, convention)
    if len(row) != len(vertices):
        raise InputError(f"rotation has {len(row)} rows for {len(vertices)} heads.")
    corners = faces[table.faces[row]]  # (B, 17, 3)
    batch = torch.arange(len(vertices), device=vertices.device)[:, None, None]
    return (vertices[batch, corners] * table.bary[row][..., None]).sum(2)
