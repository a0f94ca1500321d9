"""Read binary glTF 2.0 back into a Mesh; the writer and its conventions are in ``glb.py``."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facezoo.mesh.io.colour import linear_to_srgb
from facezoo.mesh.io.glb import BIN_CHUNK, JSON_CHUNK, MAGIC, VERTEX_ID
from facezoo.mesh.io.source import build_mesh, damaged, decode_texture, read_bytes
from facezoo.mesh.mesh import Mesh

_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
_SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def read_glb(path: str | os.PathLike) -> Mesh:
    """Read a GLB that holds one triangle mesh with its data inside, as :func:`write_glb` makes them.

    Vertices that were doubled at UV seams are joined again where the file says which they are.

    Raises:
        AssetError: missing or damaged, or a feature outside this subset (names it): several meshes or
            primitives, compressed or sparse data, data outside the file, a node transform.
    """
    reader = _GlbReader(path)
    try:
        return reader.mesh()
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        damaged(path, f"its glTF description is incomplete or inconsistent ({type(error).__name__}: {error})")


class _GlbReader:
    """A parsed GLB."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        data = read_bytes(path)
        if len(data) < 20 or struct.unpack_from("<I", data)[0] != MAGIC:
            damaged(path, "does not start with 'glTF': is this a GLB file?")
        _, version, total = struct.unpack_from("<III", data)
        if version != 2 or total > len(data):
            damaged(path, f"glTF version {version}, {len(data)} of {total} bytes: truncated or not glTF 2.0")
        chunks: dict[int, bytes] = {}
        at = 12
        while at + 8 <= total:
            length, kind = struct.unpack_from("<II", data, at)
            if at + 8 + length > total:
                damaged(path, "a chunk is longer than the file")
            chunks.setdefault(kind, data[at + 8 : at + 8 + length])
            at += 8 + length
        try:
            self.document = json.loads(chunks.get(JSON_CHUNK, b""))
        except ValueError as error:
            damaged(path, f"its JSON chunk cannot be parsed ({error})")
        self.binary = chunks.get(BIN_CHUNK, b"")

    def mesh(self) -> Mesh:
        document = self.document
        required = document.get("extensionsRequired", [])
        if required:
            damaged(self.path, f"needs the extension {', '.join(required)}: export without compression")
        meshes = document.get("meshes", [])
        if len(meshes) != 1 or len(meshes[0]["primitives"]) != 1:
            count = sum(len(m["primitives"]) for m in meshes)
            damaged(self.path, f"holds {len(meshes)} meshes with {count} primitives: join them into one")
        for node in document.get("nodes", []):
            moved = [key for key in ("matrix", "translation", "rotation", "scale") if key in node]
            if moved:
                damaged(self.path, f"a node has a {moved[0]}: apply the transform before exporting")
        primitive = meshes[0]["primitives"][0]
        if primitive.get("mode", 4) != 4:
            damaged(self.path, f"primitive mode {primitive['mode']}, expected 4 (triangles)")
        attributes = primitive["attributes"]
        vertices = self.array(attributes["POSITION"])
        indices = self.array(primitive["indices"]) if "indices" in primitive else np.arange(len(vertices))
        if len(indices) % 3:
            damaged(self.path, f"{len(indices)} indices are no whole number of triangles")
        faces = indices.reshape(-1, 3).astype(np.int64)
        if faces.size and faces.max() >= len(vertices):
            damaged(self.path, f"a face refers to vertex {faces.max()} of {len(vertices)}")
        columns: dict[str, NDArray] = {"vertices": vertices}
        if "NORMAL" in attributes:
            columns["normals"] = self.array(attributes["NORMAL"])
        if "COLOR_0" in attributes:
            columns["colours"] = linear_to_srgb(self.array(attributes["COLOR_0"])[:, :3])
        uv = self.array(attributes["TEXCOORD_0"]) if "TEXCOORD_0" in attributes else None
        targets = primitive.get("targets", [])
        names = meshes[0].get("extras", {}).get("targetNames", [f"target{k}" for k in range(len(targets))])
        if len(names) != len(targets):
            damaged(self.path, f"{len(targets)} morph targets, but {len(names)} names")
        morphs = {name: self.array(target["POSITION"]) for name, target in zip(names, targets, strict=True)}

        uv_faces = faces if uv is not None else None
        if VERTEX_ID in attributes:
            ids = np.rint(self.array(attributes[VERTEX_ID])).astype(np.int64).reshape(-1)
            first, lead = np.unique(ids, return_index=True)
            if len(ids) != len(vertices) or (first != np.arange(len(first))).any():
                damaged(self.path, f"the attribute {VERTEX_ID} does not number the vertices 0, 1, 2, ...")
            columns = {key: value[lead] for key, value in columns.items()}
            morphs = {name: value[lead] for name, value in morphs.items()}
            faces = ids[faces]
        if uv is not None:
            uv = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)
        return build_mesh(
            self.path,
            **columns,
            faces=faces,
            uv=uv,
            uv_faces=uv_faces,
            texture=None if uv is None else self.texture(primitive),
            morph_targets=morphs,
            name=meshes[0].get("name", Path(self.path).stem),
        )

    def slice(self, view: int, offset: int = 0) -> tuple[bytes, int]:
        """Return the bytes of a buffer view from ``offset`` on, and its stride (0 = packed)."""
        entry = self.document["bufferViews"][view]
        if "uri" in self.document["buffers"][entry["buffer"]] or entry["buffer"] != 0:
            damaged(self.path, "its data lies outside the file")
        start, length = entry.get("byteOffset", 0), entry["byteLength"]
        if start < 0 or length < offset or start + length > len(self.binary):
            damaged(self.path, f"buffer view {view} reaches beyond the binary chunk: truncated?")
        return self.binary[start + offset : start + length], entry.get("byteStride", 0)

    def array(self, index: int) -> NDArray:
        """Read one accessor as float32 ``(N, C)``, or ``(N,)`` integers for scalars."""
        accessor = self.document["accessors"][index]
        if "sparse" in accessor or "bufferView" not in accessor:
            damaged(self.path, "stores sparse arrays, which are not supported: export without them")
        if accessor["componentType"] not in _COMPONENTS or accessor["type"] not in _SIZES:
            damaged(self.path, f"accessor {index} has type {accessor['componentType']} {accessor['type']!r}")
        kind = np.dtype("<" + _COMPONENTS[accessor["componentType"]])
        width, count = _SIZES[accessor["type"]], accessor["count"]
        data, stride = self.slice(accessor["bufferView"], accessor.get("byteOffset", 0))
        stride = stride or width * kind.itemsize
        if count < 1 or (count - 1) * stride + width * kind.itemsize > len(data):
            damaged(self.path, f"accessor {index} reaches beyond its buffer view: truncated?")
        array = np.ndarray((count, width), kind, data, strides=(stride, kind.itemsize)).copy()
        if accessor.get("normalized"):
            array = np.maximum(array / np.float32(np.iinfo(kind).max), -1).astype(np.float32)
        return array[:, 0] if width == 1 else array

    def texture(self, primitive: dict[str, Any]) -> NDArray[np.uint8] | None:
        if "material" not in primitive:
            return None
        shading = self.document["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
        if "baseColorTexture" not in shading:
            return None
        source = self.document["textures"][shading["baseColorTexture"]["index"]]["source"]
        image = self.document["images"][source]
        if "bufferView" not in image:
            damaged(self.path, "its texture lies outside the file")
        return decode_texture(self.path, self.slice(image["bufferView"])[0])
