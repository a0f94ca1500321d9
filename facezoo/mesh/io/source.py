"""What every reader shares: opening a file, naming it in errors, cutting polygons, decoding textures."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facezoo.errors import AssetError, InputError
from facezoo.mesh.mesh import Mesh


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read a whole file.

    Raises:
        AssetError: it is missing or unreadable.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AssetError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error


def damaged(path: str | os.PathLike, message: str, line: int | None = None) -> NoReturn:
    """Raise the AssetError for a file that is not what its suffix says."""
    place = f"{os.fspath(path)}, line {line}" if line else os.fspath(path)
    raise AssetError(f"{place}: {message}")


def build_mesh(path: str | os.PathLike, **arrays: object) -> Mesh:
    """Construct the mesh; what does not fit together is the file's fault here, not the caller's."""
    try:
        return Mesh(**arrays)  # type: ignore[arg-type]
    except InputError as error:
        raise AssetError(f"{os.fspath(path)}: {error}") from error


def fan(polygon: list) -> list[tuple]:
    """Cut a polygon into triangles around its first corner."""
    return [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]


def encode_texture(texture: NDArray[np.uint8], kind: str = "png") -> bytes:
    """Encode an sRGB image ``(h, w, 3 or 4)`` uint8 as PNG, or as JPEG of quality 95 without alpha."""
    buffer = io.BytesIO()
    if kind == "jpeg":
        Image.fromarray(np.ascontiguousarray(texture[..., :3])).save(
            buffer, "JPEG", quality=95, subsampling=0
        )
    elif kind == "png":
        Image.fromarray(texture).save(buffer, "PNG", compress_level=6)
    else:
        raise InputError(f"texture format must be 'png' or 'jpeg', got {kind!r}")
    return buffer.getvalue()


def decode_texture(path: str | os.PathLike, data: bytes) -> NDArray[np.uint8]:
    """Decode image bytes to uint8 ``(h, w, 3)``, or ``(h, w, 4)`` where the image has alpha.

    Raises:
        AssetError: not a readable image; names ``path``.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            alpha = "A" in image.getbands() or "transparency" in image.info
            return np.asarray(image.convert("RGBA" if alpha else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AssetError(f"{os.fspath(path)}: its texture is not a readable image ({error})") from error
