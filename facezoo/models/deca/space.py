"""What the codes mean: a head, its landmarks, and where they lie in the crop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.errors import AssetError
from facezoo.heads import HeadModel, HeadParams
from facezoo.models.deca.camera import project, to_image_axes
from facezoo.models.deca.codes import DecaCodes
from facezoo.models.deca.config import DecaConfig

LANDMARKS = "ibug68"


class DecaSpace(nn.Module):
    """From codes to vertices and landmarks; the head's arrays are not stored with the weights."""

    landmark_ids: Tensor
    corners: Tensor
    bary: Tensor

    def __init__(self, config: DecaConfig, head: HeadModel) -> None:
        """Bind a head.

        Raises:
            AssetError: it has fewer components than the codes, or no landmarks.
        """
        super().__init__()
        self.config, self.head = config, head
        for name, have, need in (
            ("identity", head.n_identity, config.n_identity),
            ("expression", head.n_expression, config.n_expression),
        ):
            if have < need:
                raise AssetError(
                    f"head {head.head_id!r} has {have} {name} components but model.n_{name}={need}; "
                    f"set model.n_{name}={have} or another model.head."
                )
        # FLAME's own 68 points have a jaw line that follows the yaw; heads without that table have fixed ones.
        self.moving_contour = head.topology.contour is not None and "ibug51" in head.topology.landmarks
        if self.moving_contour:
            return
        if LANDMARKS not in head.topology.landmarks:
            raise AssetError(
                f"head {head.head_id!r} has no landmark set {LANDMARKS!r}; DECA needs its 68 points."
            )
        ids, corners = head.topology.landmark_vertices(LANDMARKS)
        for name, value in (
            ("landmark_ids", ids),
            ("corners", corners),
            ("bary", head.topology.landmark_set(LANDMARKS).bary),
        ):
            self.register_buffer(name, value, persistent=False)

    def head_params(self, codes: DecaCodes, *, turned: bool = True, neutral: bool = False) -> HeadParams:
        """Return the head's parameters.

        Args:
            codes: the codes.
            turned: with the root's rotation; without it the head stays in its own frame.
            neutral: shape only.
        """
        if neutral:
            return HeadParams(identity=codes.shape)
        return HeadParams(
            identity=codes.shape,
            expression=codes.expression,
            rotation=codes.pose[:, :3] if turned else None,
            jaw=codes.pose[:, 3:],
        )

    def vertices(self, codes: DecaCodes, ids: Tensor | None = None, *, turned: bool = True) -> Tensor:
        """Return posed vertices (B, V, 3), or those named, in metres."""
        return self.head(self.head_params(codes, turned=turned), ids).vertices

    def landmarks(self, codes: DecaCodes, *, turned: bool = True, neutral: bool = False) -> Tensor:
        """Return the 68 posed landmarks (B, 68, 3), metres."""
        params = self.head_params(codes, turned=turned, neutral=neutral)
        if not self.moving_contour:
            # Choosing rows asks tensors for numbers, which an export cannot trace.
            if torch.compiler.is_compiling():
                vertices = self.head(params).vertices[:, self.landmark_ids]
            else:
                vertices = self.head(params, self.landmark_ids).vertices
            return (vertices[:, self.corners] * self.bary[..., None]).sum(2)
        vertices = self.head(params).vertices
        pose = HeadParams(rotation=codes.pose[:, :3])
        # The pose turns the head in its own axes, y up and z to the viewer; two are flipped only in the picture.
        return self.head.contour_landmarks(vertices, HeadModel.head_rotation(pose), "deca")

    def joint(self, codes: DecaCodes) -> Tensor:
        """Return the root joint (B, 3) of the unrotated head."""
        shape, expression = codes.shape, codes.expression
        dirs, split = self.head.joint_dirs[0], self.head.n_identity
        moved = shape @ dirs[:, : shape.shape[1]].mT
        moved = moved + expression @ dirs[:, split : split + expression.shape[1]].mT
        return self.head.joint_template[0] + moved

    def place(self, points: Tensor, codes: DecaCodes) -> Tensor:
        """Move posed points (B, N, 3) into the crop: (B, N, 2) in crop units, 0 = centre and ±0.5 = border."""
        return to_image_axes(project(points, codes.camera))[..., :2] / 2


def fixed_ids(head: HeadModel, points: int) -> Tensor | None:
    """Return the vertices that the data's dense points are, None where the head has no such subset."""
    return torch.as_tensor(head.topology.subsets[points]) if points in head.topology.subsets else None
