"""Everything DECA makes of a face, as files that other programs open."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from facezoo.data.images import ImageSource
from facezoo.errors import InputError
from facezoo.heads.texture import load_texture
from facezoo.mesh import write_mesh
from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.source import encode_texture
from facezoo.models.deca.painter import FacePainter
from facezoo.models.deca.predict import Deca
from facezoo.render import linear_to_srgb
from facezoo.render.normal_map import bake_normal_map
from facezoo.types import Face

HEIGHT = 0.01  # metres of displacement that white stands for in the picture of it; black for as much inwards
_SIDE = 512


def write_outputs(
    model: Deca, face: Face, image: ImageSource, folder: str | Path, *, levels: int = 2
) -> list[Path]:
    """Write a face in every form; ``docs/deca.md`` lists them.

    Args:
        model: that predicted the face.
        face: predicted in ``image``.
        image: the photo.
        folder: made if need be.
        levels: of subdivision of the detailed mesh.

    Returns:
        The files. Without a detail branch those of the coarse head only.

    Raises:
        InputError: the face is not one of this model's, or a file cannot be written.
    """
    if face.vertices is None or face.detail is None or "albedo" not in face.detail:
        raise InputError("outputs needs a face that this model predicted.")
    folder, texture = Path(folder), model.texture(face, image)
    written = [face.save(folder / f"face.{kind}", texture=texture) for kind in ("glb", "obj")]
    written.append(face.save(folder / "face.npz"))
    written.append(write_bytes(folder / "albedo.png", encode_texture(_albedo(model, face))))
    displacement = face.detail.get("displacement")
    if displacement is None:
        return written
    mesh = model.detailed_mesh(face, levels=levels, image=image)
    written += [write_mesh(folder / f"detailed.{kind}", mesh) for kind in ("glb", "obj")]
    topology = model.net.space.head.topology
    normals = bake_normal_map(
        face.vertices, topology.faces, topology.uv, topology.uv_faces, displacement, _SIDE
    )
    written.append(write_bytes(folder / "normals.png", encode_texture(normals.texture)))
    written.append(write_bytes(folder / "displacement.png", height_picture(displacement[0].cpu().numpy())))
    return written


def height_picture(displacement: NDArray[np.float32]) -> bytes:
    """Encode metres (H, W) as a 16-bit PNG, middle grey 0, white :data:`HEIGHT` outwards."""
    levels = np.rint((np.clip(displacement / HEIGHT, -1, 1) * 0.5 + 0.5) * 65535).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def _albedo(model: Deca, face: Face) -> NDArray[np.uint8]:
    """Return the albedo of the codes as a texture (512, 512, 3), sRGB."""
    assert face.detail is not None
    space = load_texture(model.config.texture, model.config.n_albedo)
    painter = FacePainter(model.net.space.head, space, official=model.config.official).to(model.device)
    maps = painter.albedo(face.detail["albedo"][None].to(model.device))
    if not model.config.official:
        maps = linear_to_srgb(maps)
    maps = F.interpolate(maps, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
    return (maps[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
