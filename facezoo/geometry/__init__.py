"""Rotations, cameras, crops and alignment: what every other room measures with."""

from facezoo.geometry.camera import Camera, CameraMatrices
from facezoo.geometry.crop import CropSpec, apply_affine, invert_affine, tight_box, warp
from facezoo.geometry.procrustes import Similarity, align
from facezoo.geometry.rotations import (
    axis_angle_to_matrix,
    euler_to_matrix,
    geodesic_angle,
    matrix_from_6d,
    matrix_to_6d,
    matrix_to_axis_angle,
    matrix_to_euler,
)

__all__ = [
    "Camera",
    "CameraMatrices",
    "CropSpec",
    "Similarity",
    "align",
    "apply_affine",
    "axis_angle_to_matrix",
    "euler_to_matrix",
    "geodesic_angle",
    "invert_affine",
    "matrix_from_6d",
    "matrix_to_6d",
    "matrix_to_axis_angle",
    "matrix_to_euler",
    "tight_box",
    "warp",
]
