"""One triangle mesh with everything the file formats can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import InputError
from facezoo.mesh.topology import IntArray, check_faces


@dataclass(frozen=True, eq=False)
class Mesh:
    """Hold a mesh in metres, y up, as NumPy arrays; torch tensors are taken too and copied over.

    Attributes:
        vertices: positions ``(V, 3)`` float32.
        faces: vertex ids ``(F, 3)`` int64, counter-clockwise seen from outside.
        uv: texture coordinates ``(T, 2)`` float32, origin at the BOTTOM left of the texture (OBJ, USD,
            FLAME).
        uv_faces: ids into ``uv`` a face corner ``(F, 3)`` int64; left out, ``uv`` must be ``(V, 2)`` and
            ``faces`` is used. A seam is two ids for one vertex.
        normals: unit vectors ``(V, 3)`` float32.
        colours: sRGB in [0, 1] ``(V, 3)`` float32.
        texture: sRGB image ``(h, w, 3)`` or ``(h, w, 4)`` uint8, row 0 at the top.
        morph_targets: name -> offsets from ``vertices`` ``(V, 3)`` float32, in metres.
        name: used for objects and materials inside files.

    Raises:
        InputError: on construction, if shapes, ids or values do not fit together.
    """

    vertices: NDArray[np.float32]
    faces: IntArray
    uv: NDArray[np.float32] | None = None
    uv_faces: IntArray | None = None
    normals: NDArray[np.float32] | None = None
    colours: NDArray[np.float32] | None = None
    texture: NDArray[np.uint8] | None = None
    morph_targets: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    name: str = "face"

    def __post_init__(self) -> None:
        def put(attribute: str, value: Any) -> None:
            object.__setattr__(self, attribute, value)

        put("vertices", _floats("vertices", self.vertices, (None, 3)))
        n = len(self.vertices)
        put("faces", check_faces(_numpy(self.faces), n))
        if self.uv is not None:
            put("uv", _floats("uv", self.uv, (None, 2)))
            if self.uv_faces is None:
                if len(self.uv) != n:
                    raise InputError(f"uv holds {len(self.uv)} rows for {n} vertices: give uv_faces as well")
                put("uv_faces", self.faces.copy())
            else:
                put("uv_faces", check_faces(_numpy(self.uv_faces), len(self.uv)))
                if self.uv_faces.shape != self.faces.shape:
                    raise InputError(f"uv_faces has shape {self.uv_faces.shape}, faces {self.faces.shape}")
        elif self.uv_faces is not None:
            raise InputError("uv_faces needs uv")
        if self.normals is not None:
            put("normals", _floats("normals", self.normals, (n, 3)))
        if self.colours is not None:
            put("colours", _floats("colours", self.colours, (n, 3)))
            if n and (self.colours.min() < 0 or self.colours.max() > 1):
                raise InputError(f"colours must lie in [0, 1], got up to {np.abs(self.colours).max():g}")
        if self.texture is not None:
            image = _numpy(self.texture)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
                raise InputError(f"texture must be uint8 (h, w, 3 or 4), got {image.dtype} {image.shape}")
            if self.uv is None:
                raise InputError("texture needs uv")
            put("texture", np.ascontiguousarray(image))
        targets = {
            str(key): _floats(f"morph target {key!r}", value, (n, 3))
            for key, value in self.morph_targets.items()
        }
        put("morph_targets", MappingProxyType(targets))


def _numpy(value: Any) -> NDArray:
    """Turn a tensor or anything array-like into an array."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _floats(name: str, value: Any, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Return a contiguous float32 copy of the wanted shape (None = any length)."""
    array = _numpy(value)
    fits = array.ndim == len(shape) and all(
        w is None or g == w for g, w in zip(array.shape, shape, strict=True)
    )
    if not fits or not (np.issubdtype(array.dtype, np.number) or array.size == 0):
        wanted = ", ".join("N" if w is None else str(w) for w in shape)
        raise InputError(
            f"{name} must be numbers of shape ({wanted}), got {array.dtype} of shape {array.shape}"
        )
    array = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds {int((~np.isfinite(array)).sum())} values that are not finite")
    return array
