"""From coefficients to the vertices that matter, together with where the skull is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.geometry import axis_angle_to_matrix
from facezoo.heads import HeadModel
from facezoo.heads.lbs import blend, kinematic_chain, pose_feature, skin
from facezoo.heads.model import PARENTS
from facezoo.models.stabilizer.rigid import RigidTransform
from facezoo.models.stabilizer.steady import steady_expressions

SKULL = 1  # the neck joint carries the skull
_RAMP = 0.015  # half width in metres of the zone in which left and right halves of a face blend


class PairGeometry(nn.Module):
    """Some vertices of a head, or means of several, with expressions that leave the skull where it is.

    Attributes:
        ids: (n, k) the vertices that each point is the mean of.
        drag: what was measured and taken out, see :func:`steady_expressions`.
    """

    template: Tensor
    identity: Tensor
    expression: Tensor
    joint_template: Tensor
    joint_identity: Tensor
    joint_expression: Tensor
    posedirs: Tensor
    weights: Tensor

    def __init__(self, head: HeadModel, ids: Tensor, sided: bool) -> None:
        """Gather the rows.

        Args:
            head: any head, on the CPU.
            ids: (n,) vertices wanted, or (n, k) to average. The mean of skinned vertices is taken for the skinned mean,
                which it is wherever the skull carries the skin.
            sided: False gives every expression component two columns, its left half and its right half.
        """
        super().__init__()
        self.ids = ids = ids if ids.dim() == 2 else ids[:, None]
        directions, joint_directions, self.drag = steady_expressions(head)
        rows = head.rows(ids.flatten())
        wanted = directions[ids].mean(1)
        if not sided:
            left = ((head.v_template.cpu()[ids, 0].mean(1) / _RAMP).clamp(-1, 1) + 1) / 2
            wanted = torch.cat([wanted * left[:, None, None], wanted * (1 - left)[:, None, None]], -1)
            joint_directions = torch.cat([joint_directions, joint_directions], -1) / 2
        n = head.n_identity

        def mean(values: Tensor) -> Tensor:
            return values.unflatten(0, ids.shape).mean(1)

        tables = {
            "template": mean(rows.template), "identity": mean(rows.shapedirs[..., :n]).contiguous(),
            "expression": wanted.contiguous(), "joint_template": head.joint_template,
            "joint_identity": head.joint_dirs[..., :n].contiguous(), "joint_expression": joint_directions.contiguous(),
            "posedirs": mean(rows.posedirs.unflatten(1, (-1, 3)).transpose(0, 1)).transpose(0, 1).flatten(1),
            "weights": mean(rows.weights),
        }  # fmt: skip
        for name, value in tables.items():
            self.register_buffer(name, value.clone(), persistent=False)

    def forward(
        self, identity: Tensor, expression: Tensor, jaw: Tensor, neck: Tensor, away: RigidTransform
    ) -> tuple[Tensor, RigidTransform]:
        """Pose the head and put it somewhere.

        Args:
            identity: (B, k) coefficients.
            expression: (B, columns) coefficients.
            jaw: (B, 3) axis-angle.
            neck: (B, 3) axis-angle.
            away: (B) where the posed head goes.

        Returns:
            Vertices (B, n, 3) in metres, and where the skull went from its place in the template.
        """
        shape = blend(blend(self.template, self.identity, identity), self.expression, expression)
        joints = blend(
            blend(self.joint_template, self.joint_identity, identity), self.joint_expression, expression
        )
        still = torch.zeros_like(neck)
        rotations = axis_angle_to_matrix(torch.stack([still, neck, jaw, still, still], 1))
        shape = shape + (pose_feature(rotations) @ self.posedirs).unflatten(1, (-1, 3))
        _, world, offsets = kinematic_chain(rotations, joints, PARENTS)
        world, offsets = away.R[:, None] @ world, offsets @ away.R.mT + away.t[:, None]
        return skin(shape, self.weights, world, offsets), RigidTransform(world[:, SKULL], offsets[:, SKULL])
