"""One picture of what DECA makes of two faces: heads, wrinkles, one's expression on the other, an opening jaw."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

from facezoo.data.images import ImageSource, load_image
from facezoo.errors import InputError
from facezoo.geometry.crop import CropSpec
from facezoo.models.deca.predict import Deca
from facezoo.models.deca.shade import shaded
from facezoo.types import Face

_TILE, _LABEL = 256, 18
_JAWS = (0.0, 0.2, 0.4)  # radians
_SCALE = 1.7  # room for an open jaw


def transfer_strip(model: Deca, source: ImageSource, target: ImageSource) -> Image.Image:
    """Draw the strip, columns from left to right in three rows.

    Source: photo, coarse head, detailed head. Target: the same. Then the source's person making the target's face,
    coarse and detailed, and the source's detailed head with its jaw opened in steps.

    Args:
        model: with a detail branch.
        source: picture whose first face gives person and wrinkles.
        target: picture whose first face gives expression and jaw.

    Raises:
        InputError: no detail branch, or a picture without a face.
    """
    if model.net.decoder is None:
        raise InputError("transfer needs a model with a detail branch; recipe deca-detail trains one.")
    pictures = [load_image(image) for image in (source, target)]
    faces: list[Face] = []
    for picture, found in zip(pictures, model.predict([p.pixels for p in pictures]), strict=True):
        if not len(found):
            raise InputError(f"{picture.name}: no face found.")
        faces.append(found[0])
    rows = [
        [
            ("photo", photo(picture.pixels, face)),
            ("coarse", tile(model, face, False)),
            ("detailed", tile(model, face)),
        ]
        for picture, face in zip(pictures, faces, strict=True)
    ]
    moved = model.transfer(*faces)
    frame = faces[0]
    opened = [
        (f"jaw {jaw:g}", tile(model, model.animate(frame, jaw=[jaw, 0, 0]), frame=frame)) for jaw in _JAWS
    ]
    rows.append([
        ("source as target, coarse", tile(model, moved, False, frame)),
        ("source as target, detailed", tile(model, moved, frame=frame)),
        *opened,
    ])  # fmt: skip
    return sheet(rows)


def photo(pixels: np.ndarray, face: Face, size: int = _TILE) -> np.ndarray:
    """Cut the square of a photo (H, W, 3) that :func:`tile` draws the head in."""
    spec = CropSpec(size=size, scale=_SCALE, padding="edge")
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1) / 255
    crop = spec.crop(image, face.box[None].float().cpu())[0]
    return (crop.permute(1, 2, 0) * 255).round().byte().numpy()


def tile(
    model: Deca, face: Face, detailed: bool = True, frame: Face | None = None, size: int = _TILE
) -> np.ndarray:
    """Draw a face's head in grey, (size, size, 3).

    Args:
        model: that predicted it.
        face: the face.
        detailed: with its displacement.
        frame: face whose box decides the square, so that a moving jaw does not move the head; default its own.
        size: side in pixels.
    """
    if face.vertices is None or face.camera is None or face.detail is None:
        raise InputError("a head is drawn of a face that this model predicted.")
    spec = CropSpec(size=size, scale=_SCALE, padding="edge")
    affine = spec.affine((frame or face).box[None].float().cpu())[0]
    camera = face.camera.to(model.device).warped(affine.to(model.device), (size, size))
    displacement = face.detail.get("displacement") if detailed else None
    return shaded(model.net.space.head, face.vertices.to(model.device), camera, displacement, (size, size))


def sheet(rows: list[list[tuple[str, np.ndarray]]], size: int = _TILE) -> Image.Image:
    """Put labelled tiles (size, size, 3) into rows."""
    columns = max(len(row) for row in rows)
    picture = Image.new("RGB", (columns * size, len(rows) * (size + _LABEL)), "white")
    draw = ImageDraw.Draw(picture)
    for down, row in enumerate(rows):
        for across, (label, pixels) in enumerate(row):
            corner = across * size, down * (size + _LABEL)
            draw.text((corner[0] + 4, corner[1] + 3), label, fill="black")
            picture.paste(Image.fromarray(pixels), (corner[0], corner[1] + _LABEL))
    return picture
