"""Textures: look them up at pixels, and bake photographs into them.

Texture coordinates run from 0 to 1, u to the right and v UP (OBJ, USD): v = 0 is the bottom row of the texture image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facezoo.errors import InputError
from facezoo.render.interpolation import interpolate
from facezoo.render.rasterizer import Fragments, rasterize, rasterize_depth
from facezoo.render.visibility import farthest_depth, front_facing


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Look up a texture bilinearly, differentiable in both; outside of [0, 1] the border is repeated.

    Args:
        texture: (B, C, h, w) or (1, C, h, w).
        uv: (B, H, W, 2).

    Returns:
        (B, C, H, W).

    Raises:
        InputError: for shapes that do not fit.
    """
    if texture.ndim != 4 or uv.ndim != 4 or uv.shape[-1] != 2 or texture.shape[0] not in (1, uv.shape[0]):
        raise InputError(
            "sample_texture: expected texture (B, C, h, w) and uv (B, H, W, 2),"
            f" got {tuple(texture.shape)} and {tuple(uv.shape)}."
        )
    grid = uv * uv.new_tensor((2.0, -2.0)) + uv.new_tensor((-1.0, 1.0))
    if texture.shape[0] != uv.shape[0]:
        texture = texture.expand(uv.shape[0], -1, -1, -1)
    return functional.grid_sample(
        texture, grid.to(texture.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )


def uv_fragments(uv: Tensor, uv_faces: Tensor, size: tuple[int, int]) -> Fragments:
    """Rasterise the texture layout itself: which face and where on it each texel belongs to.

    Args:
        uv: (T, 2) texture coordinates.
        uv_faces: (F, 3) corners of each face in uv.
        size: (h, w) texels.

    Returns:
        Fragments with B = 1; constant for a topology, so keep them.
    """
    height, width = size
    position = torch.stack((uv[:, 0] * width, (1 - uv[:, 1]) * height, torch.ones_like(uv[:, 0])), -1)
    return rasterize(position.unsqueeze(0), uv_faces, size)


def bake_uv(
    image: Tensor,
    vertices_screen: Tensor,
    faces: Tensor,
    uv: Tensor,
    uv_faces: Tensor,
    size: tuple[int, int] = (256, 256),
    *,
    tolerance: float = 0.005,
    layout: Fragments | None = None,
) -> tuple[Tensor, Tensor]:
    """Unwrap an image onto the texture of the mesh seen in it.

    Args:
        image: (B, C, H, W) float.
        vertices_screen: (B, V, 3) pixels of that image and depth.
        faces: (F, 3) corners in the vertices, counter-clockwise from outside.
        uv: (T, 2) texture coordinates.
        uv_faces: (F, 3) corners in uv.
        size: (h, w) of the texture.
        tolerance: how far, relative to the depth, a texel may lie behind the surface seen and still count as seen.
        layout: `uv_fragments(uv, uv_faces, size)` when the caller keeps it.

    Returns:
        texture (B, C, h, w), 0 where nothing is seen, and mask (B, 1, h, w) bool: the texel's face turns to the
        camera, lies inside the image and is not hidden. The texture is differentiable in image and vertices.

    Raises:
        InputError: for shapes that do not fit.
    """
    if image.ndim != 4 or image.shape[0] != vertices_screen.shape[0]:
        raise InputError(
            f"bake_uv: image must be ({vertices_screen.shape[0]}, C, H, W), got {tuple(image.shape)}."
        )
    batch, _, height, width = image.shape
    layout = uv_fragments(uv, uv_faces, size) if layout is None else layout
    layout = Fragments(*(part.expand(batch, *part.shape[1:]) for part in layout))

    # The layout's barycentrics are those of the surface, so x z, y z and z are what interpolates linearly.
    z = vertices_screen[..., 2:]
    lifted = interpolate(layout, faces, torch.cat((vertices_screen[..., :2] * z, z), -1))
    depth = lifted[..., 2]
    owned = layout.face_index >= 0
    point = lifted[..., :2] / torch.where(owned, depth, 1.0).unsqueeze(-1)

    extent = point.new_tensor((width, height))
    grid = point / extent * 2 - 1
    texture = functional.grid_sample(image, grid.to(image.dtype), padding_mode="border", align_corners=False)

    with torch.no_grad():
        inside = ((point >= 0) & (point <= extent)).all(-1)
        seen = rasterize_depth(vertices_screen.detach(), faces, (height, width))
        farthest = farthest_depth(seen, point)
        facing = front_facing(vertices_screen, faces)
        facing = facing.gather(1, layout.face_index.clamp(min=0).view(batch, -1)).view_as(owned)
        mask = owned & inside & facing & (depth > 0) & (depth <= farthest * (1 + tolerance))
    return texture * mask.unsqueeze(1), mask.unsqueeze(1)
