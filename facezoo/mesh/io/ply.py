"""PLY, ASCII and binary of both byte orders: positions, triangles, normals and vertex colours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.source import build_mesh, damaged, fan, read_bytes
from facezoo.mesh.mesh import Mesh

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def write_ply(path: str | os.PathLike, mesh: Mesh, *, ascii: bool = False) -> Path:
    """Write a PLY, binary little-endian unless ``ascii``.

    Holds positions and normals as float32, colours as 8 bits, faces as int32. UV, texture and morph targets
    stay out: no two programs agree on them in PLY.
    """
    columns: list[tuple[str, str, NDArray]] = [
        (name, "f4", mesh.vertices[:, k]) for k, name in enumerate("xyz")
    ]
    if mesh.normals is not None:
        columns += [(name, "f4", mesh.normals[:, k]) for k, name in enumerate(("nx", "ny", "nz"))]
    if mesh.colours is not None:
        bytes_ = np.rint(mesh.colours * 255).astype(np.uint8)
        columns += [(name, "u1", bytes_[:, k]) for k, name in enumerate(("red", "green", "blue"))]
    names = {"f4": "float", "u1": "uchar"}
    header = [
        "ply",
        f"format {'ascii' if ascii else 'binary_little_endian'} 1.0",
        "comment facezoo: metres, y up",
        f"element vertex {len(mesh.vertices)}",
        *(f"property {names[kind]} {name}" for name, kind, _ in columns),
        f"element face {len(mesh.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    if ascii:
        rows = zip(*(values.astype(str).tolist() for _, _, values in columns), strict=True)
        lines = [" ".join(row) for row in rows] + [f"3 {a} {b} {c}" for a, b, c in mesh.faces.tolist()]
        return write_bytes(path, "\n".join([*header, *lines, ""]).encode())
    table = np.empty(len(mesh.vertices), dtype=[(name, "<" + kind) for name, kind, _ in columns])
    for name, _, values in columns:
        table[name] = values
    faces = np.empty(len(mesh.faces), dtype=[("n", "u1"), ("ids", "<i4", (3,))])
    faces["n"], faces["ids"] = 3, mesh.faces
    return write_bytes(path, ("\n".join(header) + "\n").encode() + table.tobytes() + faces.tobytes())


class _Property(NamedTuple):
    name: str
    kind: str  # NumPy type of the value, without byte order
    count_kind: str | None  # NumPy type of a list's length; None for a single value


class _Element(NamedTuple):
    name: str
    rows: int
    properties: list[_Property]


def read_ply(path: str | os.PathLike) -> Mesh:
    """Read a PLY mesh or point cloud; polygons are cut into fans, unknown elements skipped.

    Colours are read from 8-bit or float ``red green blue``; alpha is dropped.

    Raises:
        AssetError: missing file or malformed content, with the line where the file is text.
    """
    data = read_bytes(path)
    order, elements, start, header_lines = _header(path, data)
    columns: dict[str, dict[str, Any]] = {}
    if order == "":
        lines = data[start:].decode("ascii", errors="replace").split("\n")
        position = 0
        for element in elements:
            columns[element.name], position = _ascii_element(path, element, lines, position, header_lines)
    else:
        for element in elements:
            columns[element.name], start = _binary_element(path, element, data, start, order)
    return _assemble(path, columns)


def _header(path: str | os.PathLike, data: bytes) -> tuple[str, list[_Element], int, int]:
    """Parse the header to byte order, elements, offset of the body and number of header lines."""
    if not data.startswith(b"ply"):
        damaged(path, "does not start with 'ply': is this a PLY file?", 1)
    end = data.find(b"end_header")
    stop = data.find(b"\n", end)
    if end < 0 or stop < 0:
        damaged(path, "the header has no end_header line")
    order: str | None = None
    elements: list[_Element] = []
    lines = data[:stop].decode("ascii", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        match line.split():
            case ["format", name, _]:
                if name not in _ORDERS:
                    damaged(path, f"unknown format {name!r}, expected one of {', '.join(_ORDERS)}", number)
                order = _ORDERS[name]
            case ["element", name, count]:
                if not count.isdigit():
                    damaged(path, f"the number of elements is {count!r}", number)
                if any(element.name == name for element in elements):
                    damaged(path, f"element {name!r} is declared twice", number)
                elements.append(_Element(name, int(count), []))
            case ["property", "list", count_kind, kind, name] if elements:
                if _TYPES.get(count_kind, "f")[0] == "f" or kind not in _TYPES:
                    damaged(path, f"unknown list type {count_kind!r} {kind!r}", number)
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[count_kind]))
            case ["property", kind, name] if elements:
                if kind not in _TYPES:
                    damaged(path, f"unknown type {kind!r}, expected one of {', '.join(_TYPES)}", number)
                elements[-1].properties.append(_Property(name, _TYPES[kind], None))
            case ["ply"] | ["end_header"] | ["comment", *_] | ["obj_info", *_] | []:
                pass
            case _:
                damaged(path, f"unexpected header line {line.strip()[:60]!r}", number)
    if order is None:
        damaged(path, "the header has no format line")
    return order, elements, stop + 1, len(lines)


def _ascii_element(
    path: str | os.PathLike, element: _Element, lines: list[str], position: int, header_lines: int
) -> tuple[dict[str, Any], int]:
    """Read ``element.rows`` non-empty lines."""
    single = [p for p in element.properties if p.count_kind is None]
    values: dict[str, list] = {p.name: [] for p in element.properties}
    for row in range(element.rows):
        while position < len(lines) and not lines[position].strip():
            position += 1
        if position >= len(lines):
            damaged(path, f"ends after {row} of {element.rows} {element.name} rows")
        fields = lines[position].split()
        position += 1
        number = header_lines + position
        try:
            if len(single) == len(element.properties):
                if len(fields) < len(single):
                    raise IndexError
                for p, field in zip(single, fields, strict=False):
                    values[p.name].append(float(field))
                continue
            at = 0
            for p in element.properties:
                if p.count_kind is None:
                    values[p.name].append(float(fields[at]))
                    at += 1
                    continue
                length = int(fields[at])
                if length < 0 or at + 1 + length > len(fields):
                    raise IndexError
                convert = float if p.kind[0] == "f" else int
                values[p.name].append([convert(field) for field in fields[at + 1 : at + 1 + length]])
                at += 1 + length
        except ValueError:
            damaged(path, f"expected numbers, got {lines[position - 1].strip()[:60]!r}", number)
        except IndexError:
            damaged(
                path, f"too few numbers for a {element.name}: {lines[position - 1].strip()[:60]!r}", number
            )
    return {p.name: _column(p, values[p.name]) for p in element.properties}, position


def _column(p: _Property, values: list) -> NDArray | list:
    if p.count_kind is not None:
        return values
    array = np.array(values)
    return array if p.kind[0] == "f" else array.astype(np.int64)


def _binary_element(
    path: str | os.PathLike, element: _Element, data: bytes, start: int, order: str
) -> tuple[dict[str, Any], int]:
    """Read one element's rows; the usual case, every list as long as the first row's, is one frombuffer."""

    def short() -> None:
        damaged(path, f"ends inside its {element.rows} {element.name} rows: the file is truncated")

    if element.rows == 0 or not element.properties:
        return {p.name: [] if p.count_kind else np.zeros(0) for p in element.properties}, start

    def read_row(at: int) -> tuple[list, int]:
        row = []
        for p in element.properties:
            length = 1
            if p.count_kind is not None:
                kind = np.dtype(order + p.count_kind)
                if at + kind.itemsize > len(data):
                    short()
                length = int(np.frombuffer(data, kind, 1, at)[0])
                at += kind.itemsize
            kind = np.dtype(order + p.kind)
            if length < 0 or at + length * kind.itemsize > len(data):
                short()
            values = np.frombuffer(data, kind, length, at)
            row.append(values.tolist() if p.count_kind else values[0])
            at += length * kind.itemsize
        return row, at

    first, _ = read_row(start)
    fields: list[tuple] = []
    for k, p in enumerate(element.properties):
        if p.count_kind is not None:
            fields.append((f"count{k}", order + p.count_kind))
        fields.append((f"value{k}", order + p.kind, (len(first[k]),) if p.count_kind else ()))
    dtype = np.dtype(fields)
    if start + element.rows * dtype.itemsize <= len(data):
        table = np.frombuffer(data, dtype, element.rows, start)
        lists = [k for k, p in enumerate(element.properties) if p.count_kind]
        if all((table[f"count{k}"] == len(first[k])).all() for k in lists):
            columns = {p.name: table[f"value{k}"] for k, p in enumerate(element.properties)}
            return columns, start + element.rows * dtype.itemsize
    if all(p.count_kind is None for p in element.properties):
        short()
    rows = []
    for _ in range(element.rows):
        row, start = read_row(start)
        rows.append(row)
    return {p.name: _column(p, [row[k] for row in rows]) for k, p in enumerate(element.properties)}, start


def _assemble(path: str | os.PathLike, columns: dict[str, dict[str, Any]]) -> Mesh:
    vertex = columns.get("vertex", {})
    if any(isinstance(vertex.get(name, []), list) for name in "xyz"):
        damaged(path, "has no vertex element with x, y and z")

    def stack(names: Sequence[str]) -> NDArray | None:
        chosen = [vertex.get(name) for name in names]
        arrays = [c for c in chosen if isinstance(c, np.ndarray)]
        return np.stack(arrays, axis=1) if len(arrays) == len(names) else None

    colours = stack(("red", "green", "blue"))
    if colours is not None:
        colours = colours / 255 if np.issubdtype(colours.dtype, np.integer) else colours
    face = columns.get("face", {})
    polygons = face.get("vertex_indices", face.get("vertex_index", np.zeros((0, 3), np.int64)))
    if "tristrips" in columns:
        damaged(path, "stores triangle strips, which are not supported: export plain faces")
    if isinstance(polygons, np.ndarray) and polygons.ndim == 2 and polygons.shape[1] == 3:
        faces = polygons
    else:
        rows = polygons.tolist() if isinstance(polygons, np.ndarray) else polygons
        if not isinstance(rows, list) or any(not isinstance(r, list) or len(r) < 3 for r in rows):
            damaged(path, "a face has fewer than 3 corners")
        faces = np.array([t for row in rows for t in fan(row)], dtype=np.int64).reshape(-1, 3)
    if not np.issubdtype(faces.dtype, np.integer):
        damaged(path, "face corners are not whole numbers")
    return build_mesh(
        path, vertices=stack("xyz"), faces=faces, normals=stack(("nx", "ny", "nz")), colours=colours,
        name=Path(path).stem,
    )  # fmt: skip
