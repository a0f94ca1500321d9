"""The jaw line as a photograph shows it: for every pose, the outermost points along paths over the cheeks."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import AssetError
from facezoo.heads.model import HeadModel


def visible_contour(head: HeadModel, vertices: Tensor, rotation: Tensor) -> Tensor:
    """Find the 17 jaw points that 2D datasets annotate (300W, iBUG, dlib): on the silhouette, not on the jaw bone.

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
