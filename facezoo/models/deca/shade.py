"""Grey pictures of heads that show their relief and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facezoo.geometry.camera import Camera
from facezoo.heads import HeadModel
from facezoo.mesh import vertex_normals
from facezoo.render import interpolate, rasterize, sample_texture
from facezoo.render.bump import bumped_normals, texture_gradient, texture_tangents

# Camera axes: x right, y down, z away. A raking lamp from the upper left, which wrinkles need, and two weaker ones.
_LAMPS = (((-0.75, -0.6, -0.45), 0.62), ((0.8, 0.1, -0.5), 0.2), ((0.0, 0.0, -1.0), 0.18))
_AMBIENT, _GREY, _EMPTY = 0.08, 0.86, 255
_SMOOTH = 2  # drawn this much larger and averaged


@torch.no_grad()
def shaded(
    head: HeadModel, vertices: Tensor, camera: Camera, displacement: Tensor | None, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw a head in plain grey.

    Args:
        head: the head.
        vertices: (V, 3) in its frame, metres.
        camera: of a picture of ``size``.
        displacement: (1, h, w) metres along the normals, row 0 at v = 1; None or empty for the coarse head.
        size: (height, width) in pixels.

    Returns:
        (height, width, 3) uint8, white beside the head.
    """
    topology = head.topology
    fine = size[0] * _SMOOTH, size[1] * _SMOOTH
    zoom = torch.eye(2, 3)[None].to(vertices) * _SMOOTH
    camera = camera.warped(zoom[0], fine)
    screen = torch.cat([camera.project(vertices), camera.to_camera(vertices)[:, 2:]], 1)
    fragments = rasterize(screen[None], topology.faces, fine, cull_backfaces=True)
    normals = F.normalize(
        interpolate(fragments, topology.faces, vertex_normals(vertices, topology.faces)[None])[0], dim=-1
    )
    inside = fragments.face_index[0] >= 0
    picked = normals[inside]
    if displacement is not None and displacement.numel():
        uv, uv_faces = topology.uv.to(vertices), topology.uv_faces
        moves = texture_tangents(vertices, topology.faces, uv, uv_faces)
        packed = interpolate(fragments, uv_faces, torch.cat([uv, moves], 1)[None])
        gradient = sample_texture(texture_gradient(displacement[0].to(vertices))[None], packed[..., :2])
        picked = bumped_normals(picked, packed[0][inside][:, 2:], gradient[0].permute(1, 2, 0)[inside])
    picked = picked @ camera.R.to(picked).mT
    light = torch.full_like(picked[:, 0], _AMBIENT)
    for direction, strength in _LAMPS:
        light += strength * (picked @ F.normalize(picked.new_tensor(direction), dim=0)).clamp_min(0)
    picture = picked.new_full((*fine, 3), _EMPTY)
    picture[inside] = ((_GREY * light).clamp(0, 1) ** (1 / 2.2) * 255)[:, None]
    small = F.avg_pool2d(picture.permute(2, 0, 1)[None], _SMOOTH)[0]
    return small.permute(1, 2, 0).round().to(torch.uint8).cpu().numpy()
