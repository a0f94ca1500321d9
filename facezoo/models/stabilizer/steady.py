"""Expressions that drag the skull: measured, and taken out before anything is trained on them.

The expression bases of some heads (FLAME 2020) move every vertex, the back of the head included, so that two
expressions of one person have different skulls. What is rigid in a component on scalp and ears is the drag.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from facezoo.geometry.rotations import skew
from facezoo.heads import HeadModel
from facezoo.models.stabilizer.regions import regions

_ROUNDS = 20
_ANCHORS = 300  # vertices are enough for six unknowns


@dataclass(frozen=True)
class SkullDrag:
    """How the expression components of a head move its skull, at coefficient one.

    Attributes:
        names: one name a component.
        angle: (n,) degrees of rotation that were found.
        shift: (n,) mm of translation of the skull's middle.
        before: (n,) mm, root mean square motion of the anchor (scalp, cranium, ears).
        after: (n,) mm, the same without the drag.
    """

    names: tuple[str, ...]
    angle: Tensor
    shift: Tensor
    before: Tensor
    after: Tensor

    def lines(self, most: int = 5) -> list[str]:
        """Describe the worst components, one a line."""
        order = self.shift.argsort(descending=True)[:most].tolist()
        return [
            f"{self.names[i]}: drags the skull by {self.shift[i]:.2f} mm and {self.angle[i]:.2f} deg; "
            f"anchor moves {self.before[i]:.2f} mm, {self.after[i]:.2f} mm without"
            for i in order
        ]


@torch.no_grad()
def steady_expressions(head: HeadModel) -> tuple[Tensor, Tensor, SkullDrag]:
    """Measure the drag of every expression component by a robust rigid fit, and take it out.

    The fit is linear in rotation and translation, weighted by Tukey's function: parts of the scalp that a component
    moves by itself (brows pull it) do not count as drag.

    Args:
        head: any head.

    Returns:
        Expression directions (V, 3, n) and their joints' (5, 3, n) without drag, and what was found.
    """
    directions = head.shapedirs[..., head.n_identity :].double().cpu()
    joints = head.joint_dirs[..., head.n_identity :].double().cpu()
    template = head.v_template.double().cpu()
    areas = regions(head)
    anchor = torch.cat([areas.cranium, areas.ears]).unique()
    if len(anchor) < 16:  # a head that is only a mask of the face
        anchor = areas.upper_face
    anchor = anchor[:: max(1, len(anchor) // _ANCHORS)]
    middle = template[anchor].mean(0)
    moves = directions[anchor]  # (m, 3, n)
    design = _rigid_fields(template[anchor] - middle)  # (m, 3, 6)
    motion = torch.zeros(6, directions.shape[-1], dtype=torch.double)
    weight = torch.ones(len(anchor), directions.shape[-1], dtype=torch.double)
    for _ in range(_ROUNDS):
        normal = torch.einsum("mn,mci,mcj->nij", weight, design, design)
        right = torch.einsum("mn,mci,mcn->ni", weight, design, moves)
        motion = torch.linalg.solve(normal, right).T
        rest = (moves - torch.einsum("mci,in->mcn", design, motion)).norm(dim=1)
        limit = 4 * rest.median(0).values + 1e-6
        weight = (1 - (rest / limit).clamp(max=1).square()).square() + 1e-9
    drag = torch.einsum("vci,in->vcn", _rigid_fields(template - middle), motion)
    joint_drag = torch.einsum(
        "vci,in->vcn", _rigid_fields(head.joint_template.double().cpu() - middle), motion
    )
    found = SkullDrag(
        head.params["expression"].names,
        motion[:3].norm(dim=0).rad2deg().float(),
        1e3 * motion[3:].norm(dim=0).float(),
        1e3 * moves.square().sum(1).mean(0).sqrt().float(),
        1e3 * (moves - drag[anchor]).square().sum(1).mean(0).sqrt().float(),
    )
    return (directions - drag).float(), (joints - joint_drag).float(), found


def _rigid_fields(points: Tensor) -> Tensor:
    """Return the displacements (N, 3, 6) of points (N, 3) for small rotations about 0 and for translations."""
    turn = -skew(points)  # ω × x = -[x]ₓ ω
    return torch.cat([turn, torch.eye(3, dtype=points.dtype).expand(len(points), 3, 3)], -1)
