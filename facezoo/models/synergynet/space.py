"""The 3DMM behind SynergyNet: whitened parameters to a head's coefficients and pose, and back.

A parameter vector holds pose (a 3×4 affine map, row-major, metres to crop pixels with y up), shape codes and expression
codes. A code counts standard deviations along a direction of the head's coefficients, so any head serves: its own
population decides which directions the first codes mean (:mod:`facezoo.models.synergynet.whitening`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facezoo.errors import AssetError, InputError
from facezoo.heads import HeadModel, HeadParams
from facezoo.models.synergynet.config import SynergyConfig

JAW = 3
LANDMARKS = "ibug68"


class Modes(NamedTuple):
    """Directions of a coefficient vector (n): value = mean + decode @ code, code = encode @ (value - mean).

    Attributes:
        mean: (n,).
        decode: (n, k).
        encode: (k, n); ``encode @ decode`` is the identity.
    """

    mean: Tensor
    decode: Tensor
    encode: Tensor


class FaceSpace(nn.Module):
    """A head with directions for its codes. The head's arrays are never part of a checkpoint, the directions are."""

    mean: Tensor
    std: Tensor
    shape_mean: Tensor
    shape_decode: Tensor
    shape_encode: Tensor
    expression_mean: Tensor
    expression_decode: Tensor
    expression_encode: Tensor
    corners: Tensor
    bary: Tensor

    def __init__(self, config: SynergyConfig, head: HeadModel) -> None:
        """Build the space with the head's first coefficients as codes, until :meth:`set_modes`.

        Raises:
            AssetError: the head lacks landmarks or components that the configuration speaks of.
        """
        super().__init__()
        wrong = [
            f"{have} {name} components, not {need}"
            for name, have, need in (
                ("identity", head.n_identity, config.n_identity),
                ("expression", head.n_expression, config.n_expression),
            )
            if have < need
        ]
        if LANDMARKS not in head.topology.landmarks:
            wrong.append(f"no landmark set {LANDMARKS!r}")
        if wrong:
            raise AssetError(
                f"head {head.head_id!r} does not fit model.head={config.head}: it has {', '.join(wrong)}. The weights "
                "need the head they were trained with."
            )
        self.config, self.head = config, head
        ids, corners = head.topology.landmark_vertices(LANDMARKS)
        self.landmark_head = _with_vertices(head, ids)
        for name, value in (("corners", corners), ("bary", head.topology.landmark_set(LANDMARKS).bary)):
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("mean", torch.zeros(sum(config.sizes)))
        self.register_buffer("std", torch.ones(sum(config.sizes)))
        for name, modes in (
            ("shape", first_modes(config.n_identity, config.shape_rank)),
            ("expression", first_modes(config.n_expression + JAW, config.expression_rank)),
        ):
            for part, value in zip(Modes._fields, modes, strict=True):
                self.register_buffer(f"{name}_{part}", value)

    @torch.no_grad()
    def set_modes(self, shape: Modes, expression: Modes) -> None:
        """Say what the codes mean; missing directions (a head with fewer than the rank) stay without effect.

        Raises:
            InputError: the directions are not of this head.
        """
        for name, modes in (("shape", shape), ("expression", expression)):
            own = Modes(*(getattr(self, f"{name}_{part}") for part in Modes._fields))
            if modes.mean.shape != own.mean.shape:
                raise InputError(
                    f"{name} directions are of {len(modes.mean)} coefficients but the head has {len(own.mean)}; "
                    f"compute them for this head: python -m facezoo.models.synergynet whiten head={self.config.head}"
                )
            count = min(own.decode.shape[1], modes.decode.shape[1])
            own.mean.copy_(modes.mean)
            own.decode.zero_()[:, :count] = modes.decode[:, :count]
            own.encode.zero_()[:count] = modes.encode[:count]

    def unwhiten(self, params: Tensor) -> Tensor:
        """Map what the network returns (B, P) to pose and codes (B, P)."""
        return params * self.std + self.mean

    def whiten(self, raw: Tensor) -> Tensor:
        """Map pose and codes (B, P) to what the network should return."""
        return (raw - self.mean) / self.std

    def split(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pose (B, 3, 4), shape codes (B, S) and expression codes (B, E)."""
        pose, shape, expression = raw.split(self.config.sizes, 1)
        return pose.unflatten(1, (3, 4)), shape, expression

    def head_params(self, shape: Tensor, expression: Tensor) -> HeadParams:
        """Return the head's coefficients for codes (B, S), (B, E)."""
        identity = self.shape_mean + shape @ self.shape_decode.mT
        moves = self.expression_mean + expression @ self.expression_decode.mT
        jaw = moves[:, -JAW:] if self.config.jaw else None
        return HeadParams(identity=identity, expression=moves[:, :-JAW], jaw=jaw)

    def encode(self, identity: Tensor, expression: Tensor, jaw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes (B, S), (B, E) nearest to coefficients of the head."""
        moves = torch.cat([expression, jaw if self.config.jaw else torch.zeros_like(jaw)], 1)
        return (
            (identity - self.shape_mean) @ self.shape_encode.mT,
            (moves - self.expression_mean) @ self.expression_encode.mT,
        )

    def landmarks(self, params: HeadParams) -> Tensor:
        """Return the 68 points (B, 68, 3) of a head, metres, head frame; no other vertex is computed."""
        vertices = self.landmark_head(params).vertices
        return (vertices[:, self.corners] * self.bary[..., None]).sum(2)

    @torch.no_grad()
    def places(self) -> Tensor:
        """Return the landmarks (68, 3) of the mean head around their centre, the farthest coordinate being 1."""
        zero = self.shape_mean.new_zeros(1, self.config.n_identity)
        points = self.landmarks(HeadParams(identity=zero))[0]
        points = points - points.mean(0)
        return points / points.abs().max()

    def place(self, pose: Tensor, points: Tensor) -> Tensor:
        """Move points (B, N, 3) of the head into the crop by poses (B, 3, 4).

        Returns:
            (B, N, 3): x, y and z in crop pixels, x right, y down, z towards the viewer. Pixel centres lie at .5; with
            ``compat="official"`` the first centre is 1, as in the labels of 3DDFA.
        """
        moved = points @ pose[:, :, :3].mT + pose[:, None, :, 3]
        height = self.config.crop_size + (1 if self.config.official else 0)
        x, y, z = moved.unbind(-1)
        return torch.stack([x, height - y, z], -1)

    def reconstruct(self, params: Tensor) -> Tensor:
        """Map whitened parameters (B, P) to 68 landmarks (B, 68, 3) in the crop, see :meth:`place`."""
        pose, shape, expression = self.split(self.unwhiten(params))
        return self.place(pose, self.landmarks(self.head_params(shape, expression)))

    def reconstruct_dense(self, params: Tensor, vertices: Tensor | None = None) -> Tensor:
        """Map whitened parameters (B, P) to all vertices, or those named, in the crop."""
        pose, shape, expression = self.split(self.unwhiten(params))
        return self.place(pose, self.head(self.head_params(shape, expression), vertices).vertices)

    def to_crop_units(self, points: Tensor) -> Tensor:
        """Turn crop pixels into the zoo's crop units, 0 = centre and ±0.5 = border; x and y only."""
        first = 0.5 if self.config.official else 0.0
        return (points[..., :2] - first) / self.config.crop_size - 0.5


def _with_vertices(head: HeadModel, ids: Tensor) -> HeadModel:
    """Return a head of some vertices only, for its forward pass: it gathers nothing, so that it can be traced."""
    rows, small = head.rows(ids), head.shared_copy()
    small.v_template, small.shapedirs, small.posedirs, small.weights = rows
    return small


def first_modes(size: int, rank: int) -> Modes:
    """Return directions that are the first ``rank`` coefficients themselves."""
    decode = torch.eye(size, rank)
    return Modes(torch.zeros(size), decode, decode.mT.clone())


@torch.no_grad()
def fit_pose(points: Tensor, image: Tensor, size: int) -> Tensor:
    """Find the scaled orthographic pose that shows 3D points at given places of a crop.

    The least-squares affine map, made a rotation times a scale by its polar factor. Labels of a perspective camera thus
    get the pose that the face seems to have in the picture, which is what AFLW2000-3D's fitted labels are.

    Args:
        points: (B, N, 3) metres in the head frame, not in one plane.
        image: (B, N, 2) crop pixels, y down, pixel centres at .5.
        size: side of the crop.

    Returns:
        (B, 3, 4) of rank 3; the third row carries depth relative to the head's origin.
    """
    target = torch.stack([image[..., 0], size - image[..., 1]], -1)
    centre, aim = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    x, y = points - centre, target - aim
    affine = torch.linalg.solve(x.mT @ x, x.mT @ y).mT  # (B, 2, 3)
    rows, scale = polar_rows(affine)
    turn = complete_rotation(rows)
    linear = scale[:, None, None] * turn
    offset = aim[:, 0] - (linear[:, :2] @ centre.mT).squeeze(2)
    offset = torch.cat([offset, torch.zeros_like(offset[:, :1])], 1)
    return torch.cat([linear, offset[:, :, None]], 2)


def polar_rows(affine: Tensor) -> tuple[Tensor, Tensor]:
    """Split (B, 2, 3) into the nearest orthonormal rows (B, 2, 3) and the mean scale (B,).

    The square root of the 2×2 Gram matrix has a closed form, so no decomposition is needed.
    """
    gram = affine @ affine.mT
    root_det = torch.linalg.det(gram).clamp_min(1e-30).sqrt()
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)
    eye = torch.eye(2, dtype=affine.dtype, device=affine.device)
    root = (gram + root_det[:, None, None] * eye) / (trace + 2 * root_det).sqrt()[:, None, None]
    return torch.linalg.solve(root, affine), root.diagonal(dim1=1, dim2=2).mean(1)


def complete_rotation(rows: Tensor) -> Tensor:
    """Add the cross product as third row: (B, 2, 3) to (B, 3, 3)."""
    return torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)


def pose_rotation(pose: Tensor) -> Tensor:
    """Return the rotations (B, 3, 3) nearest to the first two rows of poses (B, 3, 4).

    In axes x right, y up, z towards the viewer, those of :func:`facezoo.geometry.rotations.matrix_to_euler`.
    """
    return complete_rotation(polar_rows(pose[:, :2, :3])[0])
