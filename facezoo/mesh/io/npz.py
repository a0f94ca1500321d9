"""NumPy NPZ: every array of a Mesh under its own name, morph targets as ``morph.NAME``."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.source import build_mesh, damaged, read_bytes
from facezoo.mesh.mesh import Mesh

_ARRAYS = ("vertices", "faces", "uv", "uv_faces", "normals", "colours", "texture")
_MORPH = "morph."
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError)


def write_npz(path: str | os.PathLike, mesh: Mesh) -> Path:
    """Write all of a mesh, losslessly and with the same bytes for the same mesh."""
    buffer = io.BytesIO()
    arrays = {key: value for key in _ARRAYS if (value := getattr(mesh, key)) is not None}
    arrays |= {_MORPH + key: value for key, value in mesh.morph_targets.items()}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in {**arrays, "name": np.array(mesh.name)}.items():
            # A ZipInfo without a date carries 1980-01-01: the same bytes today and tomorrow.
            info = zipfile.ZipInfo(f"{key}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(value, order="C"), allow_pickle=False)
            archive.writestr(info, entry.getvalue())
    return write_bytes(path, buffer.getvalue())


def read_npz(path: str | os.PathLike) -> Mesh:
    """Read what :func:`write_npz` wrote; pickled arrays are refused.

    Raises:
        AssetError: missing, damaged, or without ``vertices`` and ``faces``.
    """
    data = read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, *_ZIP_ERRORS) as error:
        damaged(path, f"not a readable NPZ archive ({error})")
    missing = {"vertices", "faces"} - set(arrays)
    if missing:
        held = ", ".join(sorted(arrays)) or "nothing"
        damaged(path, f"lacks the array {', '.join(sorted(missing))}; it holds {held}")
    return build_mesh(
        path,
        **{key: arrays[key] for key in _ARRAYS if key in arrays},
        morph_targets={key.removeprefix(_MORPH): v for key, v in arrays.items() if key.startswith(_MORPH)},
        name=str(arrays["name"]) if "name" in arrays else Path(path).stem,
    )
