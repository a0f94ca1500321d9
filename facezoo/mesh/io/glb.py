"""Binary glTF 2.0 with UV seams, texture, normal map, vertex colours and named morph targets.

Specification: Khronos glTF 2.0, sections 3.6 (buffers), 3.7 (meshes, morph targets), 3.9 (materials), 4.4 (GLB). glTF
is metres and y up like facezoo; it differs in two points, both handled here: UV start at the TOP left, vertex
colours are linear.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.errors import InputError
from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.colour import srgb_to_linear
from facezoo.mesh.io.source import encode_texture
from facezoo.mesh.mesh import Mesh
from facezoo.mesh.normals import vertex_normals
from facezoo.mesh.seams import Split, split_seams
from facezoo.mesh.topology import IntArray

MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
VERTEX_ID = "_VERTEX_ID"  # application attribute: which vertex of the unsplit mesh a vertex is


class NormalMap(NamedTuple):
    """Fine relief of a mesh, for viewers to shade.

    Attributes:
        texture: (h, w, 3) uint8, row 0 at the top; ``2 rgb / 255 - 1`` are shares of tangent, bitangent and normal.
        tangents: (T, 4) for each of the mesh's texture coordinates: unit direction in which u grows, square to the
            vertex's normal; then 1 if normal × tangent points to where v grows, else -1.
    """

    texture: NDArray[np.uint8]
    tangents: NDArray[np.float32]


class _Buffer:
    """The binary chunk with its views and accessors."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.data += data
        return len(self.views) - 1

    def accessor(self, array: NDArray, *, bounds: bool = False, target: int = _ARRAY_BUFFER) -> int:
        component = {"f4": 5126, "u2": 5123, "u4": 5125}[array.dtype.str[1:]]
        kind = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[array.shape[1] if array.ndim == 2 else 1]
        data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        accessor: dict[str, Any] = {
            "bufferView": self.view(data, target),
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write_glb(
    path: str | os.PathLike,
    mesh: Mesh,
    *,
    normal_map: NormalMap | None = None,
    texture_format: Literal["png", "jpeg"] = "png",
    morph_normals: bool = False,
    copyright: str | None = None,
) -> Path:
    """Write one GLB file: positions, normals, UV, embedded texture, vertex colours, named morph targets.

    Without normals in the mesh, area-weighted vertex normals are written, since viewers shade flat otherwise.

    Args:
        path: the file.
        mesh: needs at least one face; glTF has no empty arrays.
        normal_map: with the tangents it was made for; the mesh needs texture coordinates then.
        texture_format: encoding of the embedded texture; JPEG is smaller and drops alpha.
        morph_normals: also store how each target changes the normals, for viewers that do not recompute them.
            As large again as the targets themselves.
        copyright: goes to ``asset.copyright``.

    Raises:
        InputError: a mesh without faces, a normal map that does not fit it, or an unwritable path.
    """
    if len(mesh.faces) == 0:
        raise InputError("GLB cannot hold a mesh without faces; write .ply or .npz")
    if normal_map is not None and (mesh.uv is None or normal_map.tangents.shape != (len(mesh.uv), 4)):
        have = "no texture coordinates" if mesh.uv is None else f"{len(mesh.uv)} texture coordinates"
        raise InputError(f"normal_map holds tangents {normal_map.tangents.shape}, but the mesh has {have}")
    buffer = _Buffer()
    if mesh.uv is not None and mesh.uv_faces is not None:
        split = split_seams(mesh.faces, mesh.uv_faces, len(mesh.vertices))
    else:
        split = Split(np.arange(len(mesh.vertices)), np.zeros(0, np.int64), mesh.faces)
    normals = _unit_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals

    # 65535 restarts a primitive in 16-bit indices, so it may not name a vertex.
    index_type = np.uint16 if len(split.vertex) < 65535 else np.uint32
    indices = buffer.accessor(split.faces.ravel().astype(index_type), target=_ELEMENT_BUFFER)
    attributes = {
        "POSITION": buffer.accessor(mesh.vertices[split.vertex], bounds=True),
        "NORMAL": buffer.accessor(_no_zero(normals)[split.vertex]),
    }
    if mesh.uv is not None:
        uv = np.where(split.uv[:, None] >= 0, mesh.uv[np.maximum(split.uv, 0)], np.float32(0))
        attributes["TEXCOORD_0"] = buffer.accessor(np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1))
        if normal_map is not None:
            tangents = np.where(
                split.uv[:, None] >= 0, normal_map.tangents[np.maximum(split.uv, 0)], [1, 0, 0, 1]
            )
            attributes["TANGENT"] = buffer.accessor(tangents.astype(np.float32))
    if mesh.colours is not None:
        attributes["COLOR_0"] = buffer.accessor(srgb_to_linear(mesh.colours)[split.vertex])
    if len(split.vertex) > len(mesh.vertices):
        attributes[VERTEX_ID] = buffer.accessor(split.vertex.astype(np.float32))  # exact up to 2^24

    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices, "material": 0, "mode": 4}
    gltf_mesh: dict[str, Any] = {"name": mesh.name, "primitives": [primitive]}
    if mesh.morph_targets:
        primitive["targets"] = []
        for offsets in mesh.morph_targets.values():
            target = {"POSITION": buffer.accessor(offsets[split.vertex], bounds=True)}
            if morph_normals:
                moved = _unit_normals(mesh.vertices + offsets, mesh.faces)
                change = moved - _unit_normals(mesh.vertices, mesh.faces)
                target["NORMAL"] = buffer.accessor(change[split.vertex])
            primitive["targets"].append(target)
        gltf_mesh["weights"] = [0.0] * len(mesh.morph_targets)
        gltf_mesh["extras"] = {"targetNames": list(mesh.morph_targets)}
    shading: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "facezoo"} | ({"copyright": copyright} if copyright else {}),
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": mesh.name}],
        "meshes": [gltf_mesh],
        # A face patch is open: seen from behind, it should be there too.
        "materials": [{"name": mesh.name, "doubleSided": True, "pbrMetallicRoughness": shading}],
    }
    pictures: list[dict[str, Any]] = []
    if mesh.texture is not None:
        shading["baseColorTexture"] = {"index": len(pictures)}
        image = buffer.view(encode_texture(mesh.texture, texture_format))
        pictures.append({"bufferView": image, "mimeType": f"image/{texture_format}", "name": mesh.name})
    if normal_map is not None:  # always PNG: JPEG's blocks would be bumps
        document["materials"][0]["normalTexture"] = {"index": len(pictures)}
        image = buffer.view(encode_texture(normal_map.texture))
        pictures.append({"bufferView": image, "mimeType": "image/png", "name": f"{mesh.name} normals"})
    if pictures:
        document |= {
            "textures": [{"source": number, "sampler": 0} for number in range(len(pictures))],
            "images": pictures,
            "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497}],
        }
    document |= {"accessors": buffer.accessors, "bufferViews": buffer.views}
    document["buffers"] = [{"byteLength": len(buffer.data)}]
    return write_bytes(path, pack(document, bytes(buffer.data)))


def pack(document: dict[str, Any], binary: bytes) -> bytes:
    """Assemble header, JSON chunk (padded with blanks) and binary chunk (padded with zeros)."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    head = struct.pack("<III", MAGIC, 2, total) + struct.pack("<II", len(text), JSON_CHUNK)
    return head + text + struct.pack("<II", len(binary), BIN_CHUNK) + binary


def _unit_normals(vertices: NDArray[np.float32], faces: IntArray) -> NDArray[np.float32]:
    return vertex_normals(torch.from_numpy(np.asarray(vertices)), torch.from_numpy(faces)).numpy()


def _no_zero(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit normals, pointing along z where a vertex has none: glTF demands unit length."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    axis = np.array([0, 0, 1], dtype=np.float32)
    return np.where(length > 0, normals / np.maximum(length, 1e-30), axis).astype(np.float32)
