"""Head files: one safetensors file a head, optionally gzipped, with everything checked on the way in and out.

Keys (V vertices, F faces, n = identity + expression components)::

    v_template (V, 3) f32          faces (F, 3) i32           weights (V, 5) f32, rows sum to 1
    shapedirs (V, 3, n) f16|f32    posedirs (36, 3 V) f16|f32 J_regressor.row|col i32, .val f32 (sparse 5 x V)
    uv (T, 2), uv_faces (F, 3)     symmetry (V,)              subset.<n> (n,), mask.<name> (M,)
    landmarks.<name>.faces (N,), .bary (N, 3)                 contour.faces (79, 17), .bary (79, 17, 3)
    extra.<name> anything numeric

The metadata holds one JSON text under ``facezoo``: ``head_id``, ``licence``, ``n_identity`` and, optionally,
``kind`` ("flame" asks for FLAME's 5023 vertices and 9976 faces), ``identity_names``, ``expression_names``,
``identity_sigma``, ``expression_sigma``, ``expression_bounds`` ([[low, high], ...]), ``joint_sigma``
({"jaw": [x, y, z], ...}), ``licence_text``, ``sources``
(a sentence, or the converted files as [{"file", "sha256", "role"}, ...]).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from facezoo.errors import AssetError
from facezoo.heads.check import check_head
from facezoo.mesh.io.atomic import write_bytes

# A full FLAME with its bases is 27 MB; the limit stops a small gzip file from filling the memory.
MAX_BYTES = 1 << 30
_MAX_HEADER = 100 << 20  # safetensors' own limit
_GZIP = b"\x1f\x8b"


def write_head(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> Path:
    """Write a head file; the same content gives the same bytes.

    Args:
        path: target; a name that ends in ``.gz`` is compressed. The file appears whole or not at all.
        arrays: see the module's table. Integers are stored as i32, float64 as f32.
        meta: JSON values; at least ``head_id``, ``licence`` and ``n_identity``.

    Raises:
        AssetError: the head does not hold together.
    """
    path = Path(path)
    stored = {name: _storable(value) for name, value in arrays.items()}
    check_head(stored, meta, str(path))
    write_arrays(path, stored, meta)
    return path


def read_head(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and check a head file.

    Raises:
        AssetError: the file is missing, damaged, or not a head; the text names the file and the array.
    """
    arrays, meta = read_arrays(path)
    check_head(arrays, meta, str(path))
    return arrays, meta


def write_arrays(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write arrays and JSON metadata as (gzipped) safetensors, atomically and with reproducible bytes."""
    path = Path(path)
    # One metadata entry: the order of several is not fixed by safetensors.
    data = save_tensors(
        {name: np.ascontiguousarray(value) for name, value in arrays.items()},
        metadata={"facezoo": json.dumps(meta, sort_keys=True)},
    )
    if path.suffix == ".gz":
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as stream:
            stream.write(data)
        data = buffer.getvalue()
    write_bytes(path, data)


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`write_arrays` wrote, without knowing what it is.

    Raises:
        AssetError: missing, damaged or not written by facezoo.
    """
    data = _unpacked(path)
    try:
        arrays = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    return arrays, _meta(path, io.BytesIO(data))


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the metadata alone, without the arrays of an uncompressed file.

    Raises:
        AssetError: as :func:`read_arrays`.
    """
    with _opened(path) as stream:
        if stream.read(2) == _GZIP:
            return _meta(path, io.BytesIO(_unpacked(path)))
        stream.seek(0)
        return _meta(path, stream)


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise AssetError(f"cannot read {os.fspath(path)}: {error.strerror or error}.") from error


def _damaged(path: str | os.PathLike[str], error: Exception) -> AssetError:
    return AssetError(
        f"{os.fspath(path)} is damaged or no safetensors file ({error}); fetch, convert or build it again."
    )


def _unpacked(path: str | os.PathLike[str]) -> bytes:
    with _opened(path) as stream:
        data = stream.read()
    if data[:2] != _GZIP:
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    if len(data) > MAX_BYTES:
        raise AssetError(f"{os.fspath(path)} unpacks to more than {MAX_BYTES >> 20} MiB: it is no head file.")
    return data


def _meta(path: str | os.PathLike[str], stream: BinaryIO) -> dict[str, Any]:
    length = int.from_bytes(stream.read(8), "little")
    if length > _MAX_HEADER:
        raise _damaged(path, ValueError(f"a header of {length} bytes"))
    try:
        header = json.loads(stream.read(length))
        meta = json.loads(header.get("__metadata__", {}).get("facezoo", "null"))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(meta, dict):
        raise AssetError(f"{os.fspath(path)} has no facezoo metadata: it was not written by facezoo.")
    return meta


def _storable(value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    if value.dtype == np.float64:
        return value.astype(np.float32)
    if value.dtype.kind in "iu" and value.dtype != np.uint8:
        return value.astype(np.int32)
    return value
