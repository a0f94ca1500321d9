"""Animations in GLB files: weights of morph targets, and the node's pose (Khronos glTF 2.0, section 3.11)."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import InputError
from facezoo.mesh.io.animation import Animation
from facezoo.mesh.io.glb import BIN_CHUNK, JSON_CHUNK, MAGIC, pack

_FLOAT = 5126


def add_animation(data: bytes, animation: Animation) -> bytes:
    """Return a GLB file of one node and mesh (:func:`facezoo.mesh.io.glb.write_glb`) with an animation.

    Raises:
        InputError: no such file, or sizes that do not fit.
    """
    magic, version, _ = struct.unpack_from("<III", data)
    length, kind = struct.unpack_from("<II", data, 12)
    if magic != MAGIC or version != 2 or kind != JSON_CHUNK:
        raise InputError("the animation needs a GLB file of version 2")
    document: dict[str, Any] = json.loads(data[20 : 20 + length])
    size, kind = struct.unpack_from("<II", data, 20 + length)
    if kind != BIN_CHUNK or len(document.get("nodes", [])) != 1:
        raise InputError("the animation needs a GLB file with one node and its buffer")
    binary = bytearray(data[28 + length : 28 + length + size])
    targets = len(document["meshes"][0].get("weights", []))
    animation.check(targets)

    def accessor(values: NDArray[np.float32], kind: str, **more: Any) -> int:
        values = np.ascontiguousarray(values, "<f4")
        binary.extend(b"\0" * (-len(binary) % 4))
        view = {"buffer": 0, "byteOffset": len(binary), "byteLength": values.nbytes}
        binary.extend(values.tobytes())
        document["bufferViews"].append(view)
        count = values.size if kind == "SCALAR" else len(values)
        document["accessors"].append(
            {
                "bufferView": len(document["bufferViews"]) - 1,
                "componentType": _FLOAT,
                "count": count,
                "type": kind,
                **more,
            }
        )
        return len(document["accessors"]) - 1

    ends = {"min": [float(animation.times[0])], "max": [float(animation.times[-1])]}
    time = accessor(animation.times, "SCALAR", **ends)
    outputs = {
        "rotation": accessor(animation.rotations, "VEC4"),
        "translation": accessor(animation.translations, "VEC3"),
    }
    if targets:
        outputs["weights"] = accessor(animation.weights, "SCALAR")
    document["animations"] = [
        {
            "samplers": [
                {"input": time, "output": out, "interpolation": "LINEAR"} for out in outputs.values()
            ],
            "channels": [
                {"sampler": i, "target": {"node": 0, "path": path}} for i, path in enumerate(outputs)
            ],
        }
    ]
    document["buffers"] = [{"byteLength": len(binary)}]
    return pack(document, bytes(binary))
