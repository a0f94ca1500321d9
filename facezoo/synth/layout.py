"""What the synthetic people need to know of the open head once a process: texture layout, occlusion, rest shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon2mask

from facezoo.errors import AssetError
from facezoo.heads import HeadModel, load_head
from facezoo.mesh.normals import vertex_normals
from facezoo.render.interpolation import interpolate
from facezoo.render.texture import uv_fragments
from facezoo.render.visibility import visibility
from facezoo.synth.skin_paint import FaceLayout

TEXTURE_SIZE = 256


@dataclass(frozen=True, eq=False)
class Stage:
    """The open head prepared for rendering; everything in metres and in the rest pose.

    Attributes:
        head: the head model.
        layout: texture layout for the skin painter.
        rest: (V, 3) mean head; normals: (V, 3).
        part, ring: (V,) codes of the head's construction (``parts`` names them).
        occlusion: (V,) ambient light that reaches the mean head's vertices, 0..1.
        eye_centres: (2, 3) centres of the left and the right eyeball.
        scalp, beard: (V,) signed distance to the hairline and to the beard's outline, inside positive, metres.
    """

    head: HeadModel
    layout: FaceLayout
    rest: torch.Tensor
    normals: torch.Tensor
    part: np.ndarray
    ring: np.ndarray
    parts: tuple[str, ...]
    occlusion: torch.Tensor
    eye_centres: torch.Tensor
    scalp: np.ndarray
    beard: np.ndarray

    def is_part(self, *names: str) -> np.ndarray:
        """Mask (V,) of vertices of the named parts."""
        return np.isin(self.part, [self.parts.index(n) for n in names])


def _signed_distance(outline: np.ndarray, uv: np.ndarray, metres_per_uv: float) -> np.ndarray:
    """Distance of texture points to a closed outline, inside positive, scaled by the face's mean texel size."""
    s = 512
    inside = polygon2mask((s, s), np.stack([(1 - outline[:, 1]) * s, outline[:, 0] * s], -1))
    field = distance_transform_edt(inside) - distance_transform_edt(~inside)
    ij = np.clip((np.stack([1 - uv[:, 1], uv[:, 0]], -1) * s).astype(int), 0, s - 1)
    return field[ij[:, 0], ij[:, 1]] / s * metres_per_uv


def _ambient_occlusion(rest: torch.Tensor, normals: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Share of a cosine-weighted sky that each vertex sees, from 40 directions."""
    n = 40
    k = np.arange(n) + 0.5
    polar, around = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    directions = np.stack([np.cos(around) * np.sin(polar), np.cos(polar), np.sin(around) * np.sin(polar)], -1)
    total, seen = torch.zeros(len(rest)), torch.zeros(len(rest))
    for d in torch.from_numpy(directions).float():
        helper = torch.tensor([1.0, 0, 0]) if abs(d[0]) < 0.8 else torch.tensor([0.0, 1, 0])
        a = torch.nn.functional.normalize(torch.linalg.cross(d, helper), dim=0)
        b = torch.linalg.cross(a, d)
        # A camera on the direction: across, down, away.
        screen = torch.stack([rest @ a * 900 + 150, rest @ -b * 900 + 150, 2.0 - rest @ d], -1)
        cosine = (normals @ d).clamp(min=0)
        visible = visibility(screen[None], faces, None, resolution=192, tolerance=0.02)[0]
        seen += cosine * visible
        total += cosine
    return (seen / total.clamp(min=1e-6)).clamp(0.05, 1)


def _sphere_centre(points: torch.Tensor) -> torch.Tensor:
    """Centre (3,) of the sphere through points (N, 3): |p|² = 2 p·c + const in least squares."""
    system = torch.cat([2 * points, torch.ones(len(points), 1)], 1).double()
    return torch.linalg.lstsq(system, points.double().square().sum(1, keepdim=True)).solution[:3, 0].float()


@lru_cache(maxsize=1)
def stage() -> Stage:
    """Prepare the open head; cached per process (about a second)."""
    head = load_head("open-v1")
    extra = head.extra
    if "uv.scalp" not in extra:
        raise AssetError(
            "this head file has no texture lines: rebuild it with `python -m facezoo.heads.open`."
        )
    faces = head.topology.faces
    rest = head.v_template
    normals = vertex_normals(rest[None], faces)[0]
    part = np.asarray(extra["part"])
    parts = tuple(head.meta["parts"])
    fragments = uv_fragments(head.topology.uv, head.topology.uv_faces, (TEXTURE_SIZE, TEXTURE_SIZE))
    position = interpolate(fragments, faces, rest[None])[0].numpy()
    face_part = part[faces.numpy()].max(1)
    balls = [parts.index("eyeball_left"), parts.index("eyeball_right")]
    index = fragments.face_index[0].numpy()
    mask = (index >= 0) & ~np.isin(face_part[np.maximum(index, 0)], balls)
    lines = {n.removeprefix("uv."): np.asarray(v, float) for n, v in extra.items() if n.startswith("uv.")}
    names = ("brow_left", "brow_right", "lip_upper", "lip_lower", "eye_left", "eye_right", "nose_tip", "nostrils", "cheeks",
             "ears", "beard", "moustache", "scalp", "neck_line")  # fmt: skip
    arrays: dict[str, Any] = {n: lines[n] for n in names}
    layout = FaceLayout(**arrays, position=position, mask=mask)
    uv = head.topology.uv.numpy()[: len(rest)]
    scale = 0.24  # metres a full texture is wide at the face
    return Stage(
        head, layout, rest, normals, part, np.asarray(extra["ring"]), parts,
        _ambient_occlusion(rest, normals, faces),
        torch.stack([_sphere_centre(rest[torch.from_numpy(part == ball)]) for ball in balls]),
        _signed_distance(lines["scalp"], uv, scale), _signed_distance(lines["beard"], uv, scale),
    )  # fmt: skip
