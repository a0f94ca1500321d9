"""Labels of photographs in one safetensors file, made in parts so that a killed run loses little, read lazily."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save
from torch import Tensor

from facezoo.errors import AssetError, InputError
from facezoo.mesh.io.atomic import write_bytes

FILE = "labels.safetensors"  # where a reader looks for it, in the data set's folder
COMMAND = "python -m facezoo.data.label_photographs"
FORMAT = "facezoo photograph labels 1"
# (N, ...) arrays. ``names``: paths in UTF-8, the rest filled with zeros. ``points`` are relative to the tight box of
# ``lm68``: its centre and the root of its area; ``visible`` has eight points a byte.
_DTYPES = {
    "names": np.uint8,
    "person": np.int64,
    "lm68": np.float32,
    "lm68_contour": np.float32,
    "points": np.float16,
    "visible": np.uint8,
    "identity": np.float16,
    "expression": np.float16,
    "jaw": np.float32,
    "R": np.float32,
    "t": np.float32,
    "K": np.float32,
}
_NAME = 120  # bytes of a name


class Labels(NamedTuple):
    """Labels of B photographs, in pixels of each; as training samples have them.

    Attributes:
        points: (B, L, 2), lm68, lm68_contour: (B, 68, 2), visible: (B, L) 0 or 1.
        identity: (B, n_id), expression: (B, n_exp), jaw: (B, 3), R: (B, 3, 3), t: (B, 3), K: (B, 3, 3).
    """

    points: Tensor
    lm68: Tensor
    lm68_contour: Tensor
    visible: Tensor
    identity: Tensor
    expression: Tensor
    jaw: Tensor
    R: Tensor
    t: Tensor
    K: Tensor


def pack(names: Sequence[str], person: Sequence[int], labels: Labels) -> dict[str, NDArray]:
    """Return the file's arrays of some photographs.

    Raises:
        InputError: a name longer than 120 bytes.
    """
    encoded = [name.encode() for name in names]
    if long := [name for name in encoded if len(name) > _NAME]:
        raise InputError(
            f"{long[0].decode()} is longer than {_NAME} bytes; move the data set's folder nearer"
        )
    table = b"".join(name.ljust(_NAME, b"\0") for name in encoded)
    centre, side = _frame(labels.lm68)
    arrays = {name: value.numpy() for name, value in labels._asdict().items()}
    arrays |= {
        "names": np.frombuffer(table, np.uint8).reshape(-1, _NAME),
        "person": np.asarray(person),
        "points": ((labels.points - centre) / side).numpy(),
        "visible": np.packbits(labels.visible.numpy().astype(bool), axis=1),
    }
    return {name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in _DTYPES.items()}


def write_part(folder: Path, number: int, arrays: Mapping[str, NDArray], told: Mapping[str, Any]) -> None:
    """Write one part atomically; ``told`` is any JSON table that :func:`parts_done` returns."""
    write_bytes(
        folder / f"part-{number:06d}.safetensors", save(dict(arrays), {"told": json.dumps(dict(told))})
    )


def parts_done(folder: Path) -> dict[int, dict[str, Any]]:
    """Return what each finished part tells, by number."""
    found = {}
    for path in sorted(folder.glob("part-*.safetensors")):
        with safe_open(path, "np") as file:
            found[int(path.stem.split("-")[1])] = json.loads(file.metadata()["told"])
    return found


def join_parts(folder: Path, out: Path, meta: Mapping[str, Any]) -> None:
    """Make one file of all parts and delete them; no more than one part is in memory.

    Raises:
        InputError: the file cannot be written.
    """
    paths = sorted(folder.glob("part-*.safetensors"))
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "facezoo": json.dumps(dict(meta))}}
    shapes: dict[str, list[int]] = {}
    codes: dict[str, str] = {}
    for path in paths:
        with safe_open(path, "np") as file:
            for name in _DTYPES:
                part = file.get_slice(name)
                rows, *rest = part.get_shape()
                shapes[name] = [shapes.get(name, [0])[0] + rows, *rest]
                codes[name] = part.get_dtype()
    # Wider numbers first: each array then begins at a multiple of its width.
    order, at = sorted(_DTYPES, key=lambda name: -np.dtype(_DTYPES[name]).itemsize), 0
    for name in order:
        size = int(np.prod(shapes[name])) * np.dtype(_DTYPES[name]).itemsize
        header[name] = {"dtype": codes[name], "shape": shapes[name], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = out.with_name(f".{out.name[:64]}.{uuid.uuid4().hex}.part")
    try:
        try:
            with temporary.open("xb") as target:
                target.write(len(text).to_bytes(8, "little") + text)
                for name in order:
                    for path in paths:
                        target.write(load_file(path)[name].tobytes())
            os.replace(temporary, out)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    shutil.rmtree(folder)


class PhotoLabels:
    """The labels of all photographs of a data set; a process opens the file when it first reads.

    Attributes:
        path: the file.
        meta: what it says of itself: layout, licence, url, head_id, model.
        count: number of photographs.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file.

        Raises:
            AssetError: it is missing or not one of these; names the command that writes it.
        """
        self.path = Path(path).expanduser()
        self._arrays: dict[str, Tensor] | None = None
        try:
            with safe_open(self.path, "np") as file:
                found = file.metadata() or {}
                if found.get("format") != FORMAT or set(file.keys()) != set(_DTYPES):
                    raise AssetError(f"{self.path} holds no labels of photographs; '{COMMAND}' writes them")
                self.meta: dict[str, Any] = json.loads(found["facezoo"])
                self._shapes = {name: tuple(file.get_slice(name).get_shape()) for name in _DTYPES}
        except (OSError, SafetensorError, ValueError) as error:
            raise AssetError(
                f"{self.path} cannot be read ({error}); '{COMMAND} root={self.path.parent} out={self.path}' writes it"
            ) from error
        self.count = self._shapes["person"][0]

    def __len__(self) -> int:
        return self.count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}  # a loader process maps the file itself

    @property
    def arrays(self) -> dict[str, Tensor]:
        """The file's arrays, mapped."""
        if self._arrays is None:
            from safetensors.torch import load_file as map_file

            self._arrays = map_file(self.path)
        return self._arrays

    def sizes(self) -> dict[str, int]:
        """Return points, n_identity and n_expression."""
        return {
            "points": self._shapes["points"][1],
            "n_identity": self._shapes["identity"][1],
            "n_expression": self._shapes["expression"][1],
        }

    def name(self, row: int) -> str:
        """Return a photograph's path below the data set's folder."""
        return bytes(self.arrays["names"][row].tolist()).rstrip(b"\0").decode()

    def persons(self) -> NDArray[np.int64]:
        """Return the person (N,) of each photograph."""
        return self.arrays["person"].numpy().copy()

    def read(self, rows: Sequence[int] | NDArray) -> Labels:
        """Return the labels of some photographs."""
        index = torch.as_tensor(np.asarray(rows, np.int64))
        part = {
            name: self.arrays[name][index] for name in Labels._fields if name not in ("points", "visible")
        }
        part = {name: value.float() for name, value in part.items()}
        centre, side = _frame(part["lm68"])
        bits = np.unpackbits(self.arrays["visible"][index].numpy(), axis=1, count=self._shapes["points"][1])
        points = self.arrays["points"][index].float() * side + centre
        return Labels(points=points, visible=torch.from_numpy(bits), **part)


def _frame(lm68: Tensor) -> tuple[Tensor, Tensor]:
    """Return centre (B, 1, 2) and side (B, 1, 1) that dense points are stored in."""
    low, high = lm68.amin(1, keepdim=True), lm68.amax(1, keepdim=True)
    return (low + high) / 2, (high - low).prod(-1, keepdim=True).sqrt()
