"""Unwrap a photo onto the head fitted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.data.images import load_image
from facezoo.errors import InputError
from facezoo.render import bake_uv

if TYPE_CHECKING:
    from facezoo.heads.model import HeadModel
    from facezoo.types import Face

_SMALLEST, _LARGEST = 128, 1024
# Texels a pixel of the face's box: the face fills about a quarter of a head's texture in each direction.
_DENSITY = 3.0


@torch.no_grad()
def texture_from_image(face: Face, head: HeadModel, image: Any) -> NDArray[np.uint8]:
    """Bake the picture into the head's texture; what it does not show gets the mean of what it shows.

    Args:
        face: a face with vertices and a camera.
        head: its head, with texture coordinates.
        image: the picture the face was found in.

    Returns:
        (h, w, 3) uint8, h = w a power of two that fits the size of the face in the picture.

    Raises:
        InputError: the head has no texture coordinates, the face no camera, or the picture another size.
    """
    if not len(head.topology.uv):
        raise InputError(f"head {head.head_id!r} has no texture coordinates; save without image=.")
    if face.vertices is None or face.camera is None:
        raise InputError(
            "this face has no mesh or no camera to project the picture with; save without image=."
        )
    loaded = load_image(image)
    if loaded.size != face.camera.image_size:
        raise InputError(
            f"the picture is {loaded.size[1]} × {loaded.size[0]} pixels, but the face was found in one of "
            f"{face.camera.image_size[1]} × {face.camera.image_size[0]}."
        )
    vertices = face.vertices.float().cpu()
    points = face.camera.project(vertices)
    # Only the part around the head, so that a huge photo costs no more than a small one.
    height, width = loaded.size
    low = points.amin(0).floor().long().clamp(min=0)
    high = torch.minimum(points.amax(0).ceil().long() + 1, torch.tensor([width, height]))
    if bool((high - low < 1).any()):
        raise InputError("the face lies outside the picture; save without image=.")
    part = loaded.pixels[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
    screen = torch.cat([points - low, face.camera.to_camera(vertices)[:, 2:]], 1).float()
    extent = float((face.box[2:] - face.box[:2]).max()) * _DENSITY
    side = int(2 ** np.clip(np.round(np.log2(extent)), np.log2(_SMALLEST), np.log2(_LARGEST)))
    texture, seen = bake_uv(
        torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1)[None],
        screen[None],
        head.topology.faces.cpu(),
        head.topology.uv.cpu().float(),
        head.topology.uv_faces.cpu(),
        (side, side),
    )
    colours, mask = texture[0].permute(1, 2, 0), seen[0, 0]
    mean = colours[mask].mean(0) if bool(mask.any()) else torch.full((3,), 128.0)
    filled = torch.where(mask[..., None], colours, mean)
    return filled.round().clamp(0, 255).to(torch.uint8).numpy()
