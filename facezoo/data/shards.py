"""Shards: rendered samples on disk as safetensors files that are read through memory maps, one row at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as serialize
from torch import Tensor

from facezoo.errors import AssetError, InputError
from facezoo.mesh.io.atomic import write_bytes

Arrays = dict[str, np.ndarray]

# name -> trailing shape; None is any size that all shards of a folder share.
FIELDS: dict[str, tuple[int | None, ...]] = {
    "images": (3, None, None),
    "points": (None, 2),
    "lm68": (68, 2),
    "lm68_contour": (68, 2),
    "visible": (None,),
    "box": (4,),
    "identity": (None,),
    "expression": (None,),
    "jaw": (3,),
    "R": (3, 3),
    "t": (3,),
    "K": (3, 3),
    "seed": (),
}
# What only some folders have; there all shards have it.
OPTIONAL: dict[str, tuple[int | None, ...]] = {
    "displacement": (
        None,
        None,
    ),  # millimetres along the coarse normal, row 0 at the top of the texture (v = 1)
    "person": (),  # pictures of one person share the number
    "skin": (None, None),  # 0..255: share of a block of pixels that shows bare facial skin
}
_KEPT = ("images", "seed", "visible", "person", "skin")  # integers that stay integers
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "U8": "|u1",
    "I8": "|i1",
}


def write_shard(
    root: str | Path, number: int, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> Path:
    """Write ``shard-<number>.safetensors`` atomically.

    Args:
        root: folder, created when missing.
        number: running number of the shard.
        arrays: the fields of :data:`FIELDS` and any of :data:`OPTIONAL`, each with N rows; images uint8 RGB
            (N, 3, S, S), points in pixels of them.
        meta: JSON values, e.g. head_id, synth_version, size.

    Raises:
        InputError: a field is missing, unknown or of the wrong shape.
    """
    check_arrays(arrays)
    data = serialize(
        {k: np.ascontiguousarray(v) for k, v in arrays.items()}, {"facezoo": json.dumps(dict(meta))}
    )
    return write_bytes(Path(root) / f"shard-{number:05d}.safetensors", data)


def check_arrays(arrays: Mapping[str, np.ndarray]) -> int:
    """Check names, shapes and row counts of a batch of samples; return the number of rows."""
    known = FIELDS | OPTIONAL
    missing, unknown = sorted(FIELDS.keys() - arrays.keys()), sorted(arrays.keys() - known.keys())
    if missing or unknown:
        raise InputError(
            f"a shard needs the fields {', '.join(FIELDS)} and may have {', '.join(OPTIONAL)}; "
            f"missing: {missing}, unknown: {unknown}"
        )
    rows = len(arrays["images"])
    for name in arrays:
        shape, given = known[name], arrays[name].shape
        fits = len(given) == len(shape) + 1 and all(
            w is None or w == g for w, g in zip(shape, given[1:], strict=True)
        )
        if not fits or given[0] != rows:
            wanted = ", ".join("*" if w is None else str(w) for w in (rows, *shape))
            raise InputError(f"field {name!r} of a shard has shape {given}; expected ({wanted})")
    if arrays["images"].dtype != np.uint8:
        raise InputError(f"images of a shard are {arrays['images'].dtype}; expected uint8")
    return rows


class ShardFolder:
    """All shards of a folder as one array-like sequence of samples, read lazily and in any order."""

    def __init__(self, root: str | Path) -> None:
        """Map the files of ``root``; ``optional`` names the fields of :data:`OPTIONAL` that they have.

        Raises:
            AssetError: no shards there, a damaged file, or shards of different heads, sizes or fields.
        """
        self.root = Path(root)
        paths = sorted(self.root.glob("shard-*.safetensors"))
        if not paths:
            raise AssetError(
                f"no shard-*.safetensors in {self.root}; write some with "
                f"'facezoo synth render --out {self.root}' or train with data.source=stream"
            )
        self._maps, metas = zip(*(_map_file(p) for p in paths), strict=True)
        self.meta = dict(metas[0])
        for path, meta in zip(paths, metas, strict=True):
            for key in ("head_id", "size"):
                if meta.get(key) != self.meta.get(key):
                    raise AssetError(
                        f"{path} has {key}={meta.get(key)!r} but {paths[0].name} has {self.meta.get(key)!r}; "
                        "keep one kind of shards in a folder"
                    )
        self.optional = tuple(name for name in OPTIONAL if name in self._maps[0])
        for path, arrays in zip(paths, self._maps, strict=True):
            given = tuple(name for name in OPTIONAL if name in arrays)
            if given != self.optional:
                raise AssetError(
                    f"{path} has the optional fields {given} but {paths[0].name} has {self.optional}; "
                    "keep one kind of shards in a folder"
                )
        self._starts = np.cumsum([0, *(len(m["images"]) for m in self._maps)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def sizes(self) -> dict[str, int]:
        """Return points, n_identity, n_expression and the image side, as the files have them."""
        first = self._maps[0]
        return {
            "points": first["points"].shape[1],
            "n_identity": first["identity"].shape[1],
            "n_expression": first["expression"].shape[1],
            "size": first["images"].shape[-1],
        }

    def persons(self) -> np.ndarray | None:
        """Return the number of each sample's person (N,), -1 for unknown; None if the files have none."""
        if "person" not in self.optional:
            return None
        return np.concatenate([np.asarray(arrays["person"], np.int64) for arrays in self._maps])

    def read(
        self, rows: Sequence[int] | np.ndarray, fields: Sequence[str] = (*FIELDS, *OPTIONAL)
    ) -> dict[str, Tensor]:
        """Read samples by number into one batch; images stay uint8, everything else becomes float32 (seed int64).

        Args:
            rows: numbers of samples.
            fields: what to read; those of :data:`OPTIONAL` that the folder lacks are left out.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise InputError(f"rows {rows.min()}..{rows.max()} asked of {len(self)} samples in {self.root}")
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        local = rows - self._starts[shard]
        batch: Arrays = {}
        for name in (f for f in fields if f not in OPTIONAL or f in self.optional):
            for number in np.unique(shard):
                chosen = np.flatnonzero(shard == number)
                part = self._maps[number][name][local[chosen]]
                if name not in batch:
                    batch[name] = np.empty((len(rows), *part.shape[1:]), part.dtype)
                batch[name][chosen] = part
        return to_tensors(batch)


def to_tensors(arrays: Mapping[str, np.ndarray | Tensor]) -> dict[str, Tensor]:
    """Turn a batch of sample arrays into tensors of the types that training expects."""
    batch = {}
    for name, value in arrays.items():
        tensor = torch.as_tensor(value)
        keep = tensor.dtype in (torch.uint8, torch.int64) and name in _KEPT
        batch[name] = tensor if keep else tensor.float()
    return batch


def _map_file(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Map one safetensors file; only its header is read (format: 8-byte length, JSON, tensor bytes)."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 1 << 24:
                raise ValueError("header length is implausible")
            header = json.loads(file.read(length))
        meta = json.loads((header.pop("__metadata__", None) or {}).get("facezoo", "{}"))
        data = np.memmap(path, np.uint8, "r", offset=8 + length)
        arrays = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            if stop > data.size:
                raise ValueError(f"tensor {name!r} ends at byte {stop} of {data.size}")
            arrays[name] = data[start:stop].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        check_arrays(arrays)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise AssetError(
            f"{path} is not a complete shard ({error}); delete it and render it again"
        ) from error
    return arrays, meta
