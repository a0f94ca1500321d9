"""Wavefront OBJ with its MTL material file and PNG texture."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.source import build_mesh, damaged, decode_texture, encode_texture, fan, read_bytes
from facezoo.mesh.mesh import Mesh


def write_obj(path: str | os.PathLike, mesh: Mesh) -> Path:
    """Write an OBJ; with a texture also ``NAME.mtl`` and ``NAME.png`` beside it.

    Holds positions, faces, UV, normals, vertex colours (the common ``v x y z r g b`` extension) and the
    texture. Morph targets have no place in OBJ and stay out. Numbers are the shortest that read back to the
    same float32.

    Returns:
        The path of the OBJ; it is written last, so that it never refers to a missing file.
    """
    target = Path(path)
    lines = ["# facezoo: metres, y up"]
    textured = mesh.texture is not None
    if textured:
        lines.append(f"mtllib {target.stem}.mtl")
    lines.append(f"o {_word(mesh.name)}")
    rows = mesh.vertices if mesh.colours is None else np.concatenate([mesh.vertices, mesh.colours], axis=1)
    lines += _rows("v", rows)
    corners = [(mesh.faces + 1).astype(str)]
    if mesh.uv is not None and mesh.uv_faces is not None:
        lines += _rows("vt", mesh.uv)
        corners.append((mesh.uv_faces + 1).astype(str))
    if mesh.normals is not None:
        lines += _rows("vn", mesh.normals)
        if len(corners) == 1:
            corners.append(np.full(mesh.faces.shape, ""))
        corners.append(corners[0])
    if textured:
        lines.append(f"usemtl {_word(mesh.name)}")
    joined = [["/".join(parts) for parts in zip(*(c[:, k] for c in corners), strict=True)] for k in range(3)]
    lines += [f"f {a} {b} {c}" for a, b, c in zip(*joined, strict=True)]
    if textured and mesh.texture is not None:
        write_bytes(target.with_suffix(".png"), encode_texture(mesh.texture))
        surface = "Ka 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1"
        material = f"newmtl {_word(mesh.name)}\n{surface}\nmap_Kd {target.stem}.png\n"
        write_bytes(target.with_suffix(".mtl"), material.encode())
    return write_bytes(target, ("\n".join(lines) + "\n").encode())


def _rows(keyword: str, values: NDArray[np.float32]) -> list[str]:
    return [f"{keyword} {' '.join(row)}" for row in values.astype(str).tolist()]


def _word(name: str) -> str:
    """Make a name that survives parsers which split at blanks."""
    return "_".join(name.split()) or "mesh"


def read_obj(path: str | os.PathLike) -> Mesh:
    """Read an OBJ: all objects and groups as one mesh, polygons cut into triangle fans.

    Normals that differ between the faces around a vertex are averaged: a Mesh has one a vertex. Where some
    corners have no UV, none is kept. The texture is the first ``map_Kd`` of the material file; if that or the
    image is not there, a warning says so and the mesh comes without.

    Raises:
        AssetError: missing file or malformed content, with the line.
    """
    text = read_bytes(path).decode("utf-8", errors="replace")
    reader = _ObjReader(path)
    pending = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = pending + raw.split("#", 1)[0].strip()
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        pending = ""
        if line:
            reader.line(line, number)
    if pending.strip():
        reader.line(pending.strip(), text.count("\n") + 1)
    return reader.mesh()


class _ObjReader:
    """The lists an OBJ fills, line by line."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.positions: list[list[float]] = []
        self.uv: list[list[float]] = []
        self.normals: list[list[float]] = []
        self.triangles: list[tuple] = []  # of corners (v, vt, vn), -1 where absent
        self.libraries: list[str] = []

    def line(self, line: str, number: int) -> None:
        keyword, *fields = line.split()
        if keyword == "v":
            self.positions.append(self.numbers(fields, (3, 4, 6, 7), number))
        elif keyword == "vt":
            self.uv.append((self.numbers(fields, (1, 2, 3), number) + [0.0])[:2])
        elif keyword == "vn":
            self.normals.append(self.numbers(fields, (3,), number))
        elif keyword == "f":
            if len(fields) < 3:
                damaged(self.path, f"a face needs at least 3 corners, got {line!r}", number)
            self.triangles += fan([self.corner(entry, number) for entry in fields])
        elif keyword == "mtllib":
            self.libraries.append(line.split(None, 1)[1] if fields else "")

    def numbers(self, fields: list[str], counts: tuple[int, ...], number: int) -> list[float]:
        try:
            values = [float(entry) for entry in fields]
        except ValueError:
            damaged(self.path, f"expected numbers, got {' '.join(fields)[:60]!r}", number)
        if len(values) not in counts:
            wanted = " or ".join(map(str, counts))
            damaged(self.path, f"expected {wanted} numbers, got {len(values)}", number)
        if not np.isfinite(values).all():
            damaged(self.path, f"a number is not finite: {' '.join(fields)[:60]!r}", number)
        return values

    def corner(self, entry: str, number: int) -> tuple[int, int, int]:
        parts = entry.split("/")
        result = [-1, -1, -1]
        pools = (("vertex", self.positions), ("texture coordinate", self.uv), ("normal", self.normals))
        if len(parts) > 3 or not parts[0]:
            damaged(self.path, f"bad face corner {entry!r}, expected v, v/vt, v//vn or v/vt/vn", number)
        for k, part in enumerate(parts):
            if not part:
                continue
            kind, pool = pools[k]
            try:
                index = int(part)
            except ValueError:
                damaged(self.path, f"bad face corner {entry!r}, expected whole numbers", number)
            # 1-based, or negative and counted back from the latest; forward references are not legal OBJ.
            position = index - 1 if index > 0 else len(pool) + index
            if index == 0 or not 0 <= position < len(pool):
                damaged(self.path, f"face corner {entry!r} refers to {kind} {index} of {len(pool)}", number)
            result[k] = position
        return result[0], result[1], result[2]

    def mesh(self) -> Mesh:
        if not self.positions:
            damaged(self.path, "no vertex in it: is this an OBJ file?")
        vertices = np.array([p[:3] for p in self.positions])
        corners = np.array(self.triangles, dtype=np.int64).reshape(-1, 3, 3)
        arrays: dict[str, object] = {"vertices": vertices, "faces": corners[..., 0], "name": self.path.stem}
        if all(len(p) >= 6 for p in self.positions):
            colours = np.array([p[3:6] for p in self.positions])
            # Some programs write 0 to 255 here.
            arrays["colours"] = np.clip(colours / 255 if colours.max() > 1 else colours, 0, 1)
        if len(corners) and (corners[..., 1] >= 0).all():
            arrays |= {"uv": np.array(self.uv), "uv_faces": corners[..., 1]}
        if len(corners) and (corners[..., 2] >= 0).all():
            arrays["normals"] = self.vertex_normals(len(vertices), corners)
        if "uv" in arrays and self.libraries:
            arrays["texture"] = self.texture()
        return build_mesh(self.path, **arrays)

    def vertex_normals(self, n: int, corners: NDArray[np.int64]) -> NDArray[np.float64]:
        pairs = np.unique(corners[..., [0, 2]].reshape(-1, 2), axis=0)
        given = np.array(self.normals)
        if len(np.unique(pairs[:, 0])) == len(pairs):  # one normal a vertex: keep it to the last digit
            result = np.zeros((n, 3))
            result[pairs[:, 0]] = given[pairs[:, 1]]
            return result
        total = np.zeros((n, 3))
        np.add.at(total, pairs[:, 0], given[pairs[:, 1]])
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)

    def texture(self) -> NDArray[np.uint8] | None:
        for name in self.libraries:
            library = self.path.parent / name
            if not library.is_file():
                warnings.warn(
                    f"{self.path}: material file {name!r} is missing, no texture read", stacklevel=4
                )
                continue
            for raw in read_bytes(library).decode("utf-8", errors="replace").splitlines():
                fields = raw.strip().split(None, 1)
                if len(fields) != 2 or fields[0].lower() != "map_kd":
                    continue
                # Options such as "-clamp on" come before the name; a name may hold blanks.
                value = fields[1].strip()
                name = value.split()[-1] if value.startswith("-") else value
                image = self.path.parent / name.replace("\\", "/")
                if image.is_file():
                    return decode_texture(image, read_bytes(image))
                warnings.warn(f"{library}: texture {value!r} is missing, none read", stacklevel=4)
        return None
