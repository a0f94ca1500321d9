"""Cameras in OpenCV axes: projection, crops as a change of camera, matrices of other programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from facezoo.errors import InputError, unknown_name
from facezoo.geometry.crop import to_homogeneous_affine
from facezoo.geometry.rotations import matrix_to_euler

Kind = Literal["perspective", "weak"]
Convention = Literal["opengl", "blender", "pytorch3d"]
_CONVENTIONS = ("opengl", "blender", "pytorch3d")

# Signs of the axes of each program's camera, in OpenCV camera axes (x right, y down, z forward).
_AXES = {"opengl": (1.0, -1.0, -1.0), "blender": (1.0, -1.0, -1.0), "pytorch3d": (-1.0, -1.0, 1.0)}
# Blender's glTF importer turns y-up files into its z-up world: (x, y, z) -> (x, -z, y).
_BLENDER_WORLD = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))


class CameraMatrices(NamedTuple):
    """The two 4×4 matrices another program wants, for column vectors.

    Attributes:
        view: (..., 4, 4). ``opengl``: world to eye. ``blender``: the camera object's ``matrix_world`` in the
            z-up world into which Blender imports our GLB files. ``pytorch3d``: world to view; hand over
            ``R=view[..., :3, :3].mT, T=view[..., :3, 3]`` because pytorch3d multiplies row vectors.
        projection: (..., 4, 4). ``opengl``, ``blender``: eye to clip space, normalised y up, depth from -1 to 1.
            ``pytorch3d``: the argument ``K`` of ``PerspectiveCameras`` or ``OrthographicCameras`` with
            ``in_ndc=True``.
    """

    view: Tensor
    projection: Tensor


@dataclass(frozen=True)
class Camera:
    """A camera that looks at a head; any leading batch shape.

    Axes are OpenCV's: x right, y down, z forward. A frontal, upright head has ``R = diag(1, -1, -1)``: the
    head's +x (the subject's left) is the image's right. Pixel centres lie at .5, so the image spans [0, w] ×
    [0, h].

    Attributes:
        K: (..., 3, 3) in pixels of the original image; any affine K is allowed (a rotated crop has skew).
        R: (..., 3, 3) head to camera.
        t: (..., 3) head to camera, metres.
        kind: ``"perspective"``: pixel = K (R x + t) / depth. ``"weak"``: scaled orthographic, depth is
            ignored and K[0, 0] is pixels per metre.
        image_size: (height, width) in pixels.
    """

    K: Tensor
    R: Tensor
    t: Tensor
    image_size: tuple[int, int]
    kind: Kind = "perspective"

    def __post_init__(self) -> None:
        for name, shape in (("K", (3, 3)), ("R", (3, 3)), ("t", (3,))):
            value = getattr(self, name)
            if not isinstance(value, Tensor) or tuple(value.shape[-len(shape) :]) != shape:
                given = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise InputError(f"Camera.{name} must be a tensor ending in shape {shape}, got {given}.")
        if self.kind not in ("perspective", "weak"):
            raise unknown_name("camera kind", str(self.kind), ("perspective", "weak"))
        if len(self.image_size) != 2 or min(self.image_size) <= 0:
            raise InputError(f"Camera.image_size must be (height, width) > 0, got {self.image_size!r}.")

    @staticmethod
    def default_K(
        height: int,
        width: int,
        focal: float | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return the intrinsics assumed for an image without any: f = √(h² + w²), centred principal point.

        Args:
            height, width: image size in pixels.
            focal: focal length in pixels, if known.

        Returns:
            (3, 3).
        """
        f = float(focal) if focal is not None else float(height**2 + width**2) ** 0.5
        if not f > 0:
            raise InputError(f"focal must be a positive number of pixels, got {focal!r}.")
        rows = [[f, 0.0, width / 2], [0.0, f, height / 2], [0.0, 0.0, 1.0]]
        return torch.tensor(rows, dtype=dtype, device=device)

    @property
    def batch_shape(self) -> torch.Size:
        """Leading shape shared by K, R and t after broadcasting."""
        return torch.broadcast_shapes(self.K.shape[:-2], self.R.shape[:-2], self.t.shape[:-1])

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        """Take one camera or some cameras of a batch."""
        if not self.batch_shape:
            raise InputError("this Camera holds a single view; there is no batch to index.")
        shape = self.batch_shape
        k, r = self.K.expand(*shape, 3, 3)[index], self.R.expand(*shape, 3, 3)[index]
        return replace(self, K=k, R=r, t=self.t.expand(*shape, 3)[index])

    def to(self, *args: object, **kwargs: object) -> Camera:
        """Move or cast all tensors, arguments as of ``Tensor.to``."""
        k, r, t = (x.to(*args, **kwargs) for x in (self.K, self.R, self.t))  # type: ignore[call-overload]
        return replace(self, K=k, R=r, t=t)

    def to_camera(self, points: Tensor) -> Tensor:
        """Move points from the head frame to the camera frame.

        Args:
            points: (..., N, 3) metres.

        Returns:
            (..., N, 3) metres, z = depth.
        """
        return points @ self.R.mT + self.t[..., None, :]

    def project(self, points: Tensor) -> Tensor:
        """Project points of the head frame to pixels.

        Args:
            points: (..., N, 3) metres. Points at or behind the camera plane of a perspective camera have no
                image; what comes back for them is meaningless.

        Returns:
            (..., N, 2) pixels.
        """
        xyz = self.to_camera(points)
        if self.kind == "weak":
            return xyz[..., :2] @ self.K[..., :2, :2].mT + self.K[..., None, :2, 2]
        uvw = xyz @ self.K.mT
        return uvw[..., :2] / uvw[..., 2:]

    def warped(self, affine: Tensor, image_size: tuple[int, int] | None = None) -> Camera:
        """Return the camera of an image that was resampled by an affine map: a crop is a change of K.

        Args:
            affine: (..., 2, 3) maps pixels of this camera's image to pixels of the new one.
            image_size: (height, width) of the new image; default unchanged.
        """
        k = to_homogeneous_affine(affine) @ self.K
        return replace(self, K=k, image_size=image_size or self.image_size)

    def euler(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the head's yaw, pitch and roll (...) in radians, in the convention of AFLW2000-3D.

        See :func:`facezoo.geometry.rotations.matrix_to_euler`.
        """
        return matrix_to_euler(_axes("opengl", self.R)[:, None] * self.R)

    def matrices(self, convention: Convention, near: float = 0.01, far: float = 100.0) -> CameraMatrices:
        """Return view and projection matrices for OpenGL, Blender or pytorch3d.

        Args:
            convention: which program, see :class:`CameraMatrices`.
            near, far: depth range in metres for clip space (OpenGL, Blender).
        """
        if convention not in _CONVENTIONS:
            raise unknown_name("matrix convention", str(convention), _CONVENTIONS)
        shape = self.batch_shape
        axes = _axes(convention, self.R)
        view = torch.zeros(*shape, 4, 4, dtype=self.R.dtype, device=self.R.device)
        view[..., :3, :3] = axes[:, None] * self.R
        view[..., :3, 3] = axes * self.t
        view[..., 3, 3] = 1
        if convention == "blender":
            view = _blender_world(view) @ torch.linalg.inv(view)
        height, width = self.image_size
        half = torch.tensor([width / 2, height / 2], dtype=self.K.dtype, device=self.K.device)
        if convention == "pytorch3d":  # its normalised range spans the shorter side, x to the left and y up
            unit, sign = torch.full_like(half, min(self.image_size) / 2), torch.tensor([-1.0, -1.0]).to(half)
        else:
            unit, sign = half, torch.tensor([1.0, -1.0]).to(half)
        # normalised = sign (pixel - half) / unit, and pixel is linear in the axes-flipped camera point
        linear = (sign / unit)[:, None] * self.K[..., :2, :2] * axes[:2]
        centre = sign * (self.K[..., :2, 2] - half) / unit
        projection = torch.zeros(*shape, 4, 4, dtype=self.K.dtype, device=self.K.device)
        projection[..., :2, :2] = linear
        weak = self.kind == "weak"
        projection[..., :2, 3 if weak else 2] = centre if weak else axes[2] * centre
        if convention == "pytorch3d":
            projection[..., 2, 2 if weak else 3] = 1
            projection[..., 3, 3 if weak else 2] = 1
        elif weak:
            projection[..., 2, 2], projection[..., 2, 3] = -2 / (far - near), -(far + near) / (far - near)
            projection[..., 3, 3] = 1
        else:
            projection[..., 2, 2], projection[..., 2, 3] = (
                (far + near) / (near - far),
                2 * far * near / (near - far),
            )
            projection[..., 3, 2] = -1
        return CameraMatrices(view, projection)

    @staticmethod
    def from_matrices(
        matrices: CameraMatrices, convention: Convention, image_size: tuple[int, int]
    ) -> Camera:
        """Rebuild a camera from another program's matrices, the inverse of :meth:`matrices`.

        Args:
            matrices: view and projection as :class:`CameraMatrices` describes them.
            convention: whose matrices they are.
            image_size: (height, width) in pixels.
        """
        if convention not in _CONVENTIONS:
            raise unknown_name("matrix convention", str(convention), _CONVENTIONS)
        view, projection = matrices
        if convention == "blender":
            view = torch.linalg.inv(view) @ _blender_world(view)
        axes = _axes(convention, view)
        weak = bool((projection[..., 3, 3] == 1).all())
        height, width = image_size
        half = torch.tensor([width / 2, height / 2], dtype=view.dtype, device=view.device)
        if convention == "pytorch3d":
            unit, sign = torch.full_like(half, min(image_size) / 2), torch.tensor([-1.0, -1.0]).to(half)
        else:
            unit, sign = half, torch.tensor([1.0, -1.0]).to(half)
        k = torch.zeros(*projection.shape[:-2], 3, 3, dtype=view.dtype, device=view.device)
        k[..., :2, :2] = (sign * unit)[:, None] * projection[..., :2, :2] * axes[:2]
        centre = projection[..., :2, 3] if weak else axes[2] * projection[..., :2, 2]
        k[..., :2, 2] = sign * unit * centre + half
        k[..., 2, 2] = 1
        rotation, translation = axes[:, None] * view[..., :3, :3], axes * view[..., :3, 3]
        return Camera(k, rotation, translation, image_size, "weak" if weak else "perspective")


def _axes(convention: str, like: Tensor) -> Tensor:
    return torch.tensor(_AXES[convention], dtype=like.dtype, device=like.device)


def _blender_world(like: Tensor) -> Tensor:
    out = torch.eye(4, dtype=like.dtype, device=like.device)
    out[:3, :3] = torch.tensor(_BLENDER_WORLD, dtype=like.dtype, device=like.device)
    return out
