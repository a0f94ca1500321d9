"""The 68 points as 2D datasets annotate them: jaw line on the silhouette, brows along the hair, even spacing."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import AssetError
from facezoo.heads.model import HeadModel

# The mesh set's jaw line begins at the ear canal, the 2D sets' a third of a step above, just below the eyes' height.
_ABOVE_EAR = 0.3
# The mesh set's brows begin 19 mm from the midline, the hair (and the 2D sets) 12 mm: that much more of a step.
_TOWARDS_NOSE = 0.7


def contour68(head: HeadModel, vertices: Tensor, rotation: Tensor) -> Tensor:
    """Place the 68 points by the markup of the 2D datasets (300-W, iBUG, dlib; Sagonas et al. 2016).

    Jaw points 0–8 and 8–16 divide the visible outline from the height of the eyes to the chin, and the brow points
    the whole brow, into equal lengths in the picture. The other points are those of ``ibug68``.

    Args:
        head: a head whose file has ``extra.contour_path`` (the open head).
        vertices: (B, V, 3) vertices in camera space.
        rotation: (B, 3, 3) from the head's frame to the camera's.

    Returns:
        (B, 68, 3) in camera space.

    Raises:
        AssetError: the head has no contour paths.
    """
    points = head.landmarks(vertices, "ibug68").clone()
    outline = visible_contour(head, vertices, rotation)
    ears = [_beyond(outline[:, i], outline[:, j], _ABOVE_EAR) for i, j in ((0, 1), (16, 15))]
    right = torch.cat([ears[0], outline[:, :9]], 1)
    left = torch.cat([outline[:, 8:], ears[1]], 1)
    points[:, :9], points[:, 8:17] = divide_evenly(right, 9), divide_evenly(left, 9)
    brows = points[:, 17:27]
    inner = [_beyond(brows[:, i], brows[:, j], _TOWARDS_NOSE) for i, j in ((4, 3), (5, 6))]
    points[:, 17:22] = divide_evenly(torch.cat([brows[:, :5], inner[0]], 1), 5)
    points[:, 22:27] = divide_evenly(torch.cat([inner[1], brows[:, 5:]], 1), 5)
    return points


def divide_evenly(line: Tensor, count: int) -> Tensor:
    """Return ``count`` points (B, count, 3) that divide polylines (B, N, 3) in camera space equally in the picture."""
    image = line[..., :2] / line[..., 2:].clamp(min=1e-6)
    length = (image[:, 1:] - image[:, :-1]).norm(dim=-1).clamp(min=1e-9)
    along = torch.cat([torch.zeros_like(length[:, :1]), length.cumsum(1)], 1)
    wanted = along[:, -1:] * torch.linspace(0, 1, count, device=line.device, dtype=line.dtype)
    left = (torch.searchsorted(along, wanted, right=True) - 1).clamp(0, line.shape[1] - 2)
    share = (wanted - along.gather(1, left)) / length.gather(1, left)
    a, b = (line.gather(1, (left + k)[..., None].expand(-1, -1, 3)) for k in (0, 1))
    return a + share[..., None] * (b - a)


def visible_contour(head: HeadModel, vertices: Tensor, rotation: Tensor) -> Tensor:
    """Find where the 17 jaw points lie when they follow the silhouette instead of the jaw bone.

    Each point travels on a fixed path over the surface, from the jaw point of ``ibug68`` towards the nose, and stops
    where the path lies furthest out across the picture, at right angles to the head's own vertical.

    Args:
        head: a head whose file has ``extra.contour_path`` (the open head).
        vertices: (B, V, 3) posed vertices in any frame that ``rotation`` leads to from the head's, e.g. camera space.
        rotation: (B, 3, 3) from the head's frame to that of ``vertices``.

    Returns:
        (B, 17, 3) in the frame of ``vertices``; right ear to left ear as in iBUG.

    Raises:
        AssetError: the head has no contour paths.
    """
    if "contour_path.faces" not in head.extra:
        raise AssetError(f"head {head.head_id!r} has no contour paths; only the open head does.")
    faces = torch.as_tensor(head.extra["contour_path.faces"], device=vertices.device).long()
    bary = torch.as_tensor(head.extra["contour_path.bary"], device=vertices.device).to(vertices.dtype)
    corners = head.topology.faces.to(vertices.device)[faces]  # (17, P, 3)
    points = (vertices[:, corners] * bary[..., None]).sum(-2)  # (B, 17, P, 3)
    up = rotation[:, :2, 1]
    # Across the image, perpendicular to the head's up axis, towards the subject's left when it faces the camera.
    across = torch.stack([-up[:, 1], up[:, 0]], -1)
    across = across / across.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    image = points[..., :2] / points[..., 2:].clamp(min=1e-6)
    outward = torch.einsum("bkpc,bc->bkp", image, across)
    side = torch.sign(torch.arange(17, device=vertices.device) - 8.0)
    best = (outward * side[:, None]).argmax(-1)
    best[:, 8] = 0
    return torch.gather(points, 2, best[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]


def _beyond(end: Tensor, before: Tensor, step: float) -> Tensor:
    """Return the point (B, 1, 3) that continues a line past its ``end`` by a share of its last step."""
    return (end + step * (end - before))[:, None]
