"""The coarse encoder's output taken apart: shape, albedo, expression, pose, camera, light, in DECA's order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle


class DecaCodes(NamedTuple):
    """What one image is explained by.

    Attributes:
        shape: (B, n) identity of the head, standard deviations.
        albedo: (B, n) coefficients of the texture space.
        expression: (B, n).
        pose: (B, 6) axis-angle of the head's root joint, then of the jaw.
        camera: (B, 3) scale and translation of the weak perspective, see :mod:`facezoo.models.deca.camera`.
        light: (B, 9, 3) spherical harmonics, band by colour channel (:func:`facezoo.render.shade_sh`).
    """

    shape: Tensor
    albedo: Tensor
    expression: Tensor
    pose: Tensor
    camera: Tensor
    light: Tensor


def split_codes(vector: Tensor, sizes: list[int]) -> DecaCodes:
    """Cut code vectors (B, P) into their parts.

    Raises:
        InputError: P is not the sum of ``sizes``, or there is no room for pose, camera and light.
    """
    if len(sizes) != 6 or vector.ndim != 2 or vector.shape[1] != sum(sizes):
        raise InputError(f"codes must be (B, {sum(sizes)}) for sizes {sizes}, got {tuple(vector.shape)}.")
    shape, albedo, expression, pose, camera, light = vector.split(sizes, 1)
    return DecaCodes(shape, albedo, expression, pose, camera, light.unflatten(1, (9, 3)))


def join_codes(codes: DecaCodes) -> Tensor:
    """Undo :func:`split_codes`: (B, P)."""
    return torch.cat([part.flatten(1) for part in codes], 1)


def euler_to_axis_angle(angles: Tensor) -> Tensor:
    """Return axis-angle (B, 3) of Rx(a) Ry(b) Rz(c), the optional parametrisation of the jaw in the released code.

    Args:
        angles: (B, 3) radians about x, y and z, intrinsic.
    """
    zero = torch.zeros_like(angles[:, 0])
    x, y, z = (
        axis_angle_to_matrix(torch.stack(axis, 1))
        for axis in (
            (angles[:, 0], zero, zero),
            (zero, angles[:, 1], zero),
            (zero, zero, angles[:, 2]),
        )
    )
    return matrix_to_axis_angle(x @ y @ z)
