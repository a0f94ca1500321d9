"""Faces and predictions as files: mesh formats, NPZ and JSON; every file whole or not there."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facezoo.errors import InputError, unknown_name
from facezoo.mesh.io import write_glb, write_mesh
from facezoo.mesh.io.atomic import write_bytes
from facezoo.viz.mesh import face_mesh, head_of, normal_map_of

if TYPE_CHECKING:
    from facezoo.types import Face, Prediction

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".usda")
SUFFIXES = (*MESH_SUFFIXES, ".npz", ".json")
_SCHEMA = 1


def save_face(face: Face, path: Path, image: Any = None, texture: Any = None) -> Path:
    """Write one face; see :meth:`facezoo.types.Face.save`."""
    suffix = path.suffix.lower()
    if suffix == ".glb":
        head = head_of(face)
        write_glb(
            path,
            face_mesh(face, image, texture),
            normal_map=normal_map_of(face),
            copyright=f"head {head.head_id}: {head.licence}; made with facezoo",
        )
    elif suffix in MESH_SUFFIXES:
        write_mesh(path, face_mesh(face, image, texture))
    elif suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **face_arrays(face))  # type: ignore[arg-type]  # its other argument is a bool
        write_bytes(path, buffer.getvalue())
    elif suffix == ".json":
        write_bytes(path, _json({"schema": _SCHEMA, **face_to_dict(face)}))
    else:
        raise unknown_name(
            "face format", suffix or path.name, SUFFIXES, "The suffix of the file picks the format."
        )
    return path


def save_prediction(
    prediction: Prediction, folder: Path, stem: str | None, formats: Sequence[str]
) -> list[Path]:
    """Write overlay, JSON and meshes; see :meth:`facezoo.types.Prediction.save`."""
    suffixes = checked_suffixes(formats)
    stem = stem or _stem(prediction.source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Everything is written beside its place first, so an error half way leaves nothing behind.
        with tempfile.TemporaryDirectory(prefix=".facezoo-", dir=folder) as scratch:
            workshop = Path(scratch)
            write_bytes(workshop / f"{stem}_overlay.png", png_bytes(prediction.overlay()))
            write_bytes(workshop / f"{stem}.json", _json(prediction_to_dict(prediction)))
            for number, face in enumerate(prediction):
                for suffix in suffixes:
                    if suffix in MESH_SUFFIXES and face.vertices is None:
                        continue  # predicted without a fit: there is no mesh to write
                    save_face(face, workshop / f"{stem}_{number}{suffix}", prediction.image)
            written = sorted(path.name for path in workshop.iterdir())
            for name in written:
                os.replace(workshop / name, folder / name)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}.") from error
    return [folder / name for name in written]


def checked_suffixes(formats: Sequence[str]) -> list[str]:
    """Return formats as suffixes with their dot, or fail with the nearest known one."""
    suffixes = [f".{name.lower().lstrip('.')}" for name in formats]
    for suffix in suffixes:
        if suffix not in SUFFIXES:
            raise unknown_name("face format", suffix.lstrip("."), [known.lstrip(".") for known in SUFFIXES])
    return suffixes


def face_arrays(face: Face) -> dict[str, np.ndarray]:
    """Return every array of a face under a flat name: ``landmarks.ibug68``, ``params.identity``, ``camera.K``, ..."""
    arrays = {"box": face.box, "score": np.float32(face.score), "head_id": np.array(face.head_id)}
    arrays |= {f"landmarks.{name}": value for name, value in face.landmarks.items()}
    arrays |= {f"confidence.{name}": value for name, value in face.confidence.items()}
    if face.params is not None:
        arrays |= {f"params.{name}": value[0] for name, value in face.params.items()}
    if face.camera is not None:
        arrays |= {f"camera.{name}": getattr(face.camera, name) for name in ("K", "R", "t")}
        arrays["camera.image_size"] = np.array(face.camera.image_size)
    if face.vertices is not None:
        arrays["vertices"] = face.vertices
    if face.detail is not None:
        arrays |= {f"detail.{name}": value for name, value in face.detail.items()}
    return {name: _numpy(value) for name, value in arrays.items()}


def face_to_dict(face: Face) -> dict[str, Any]:
    """Return a face as JSON values: everything but vertices and detail."""
    out: dict[str, Any] = {
        "box": _numbers(face.box),
        "score": round(float(face.score), 6),
        "pose_deg": None if face.pose is None else {k: round(v, 3) for k, v in face.pose._asdict().items()},
        "head_id": face.head_id or None,
        "landmarks": {name: _numbers(value) for name, value in face.landmarks.items()},
        "confidence": {name: _numbers(value) for name, value in face.confidence.items()},
        "params": None if face.params is None else {name: _numbers(v[0]) for name, v in face.params.items()},
        "camera": None,
        "fit": None if face.fit is None else face.fit._asdict(),
    }
    if face.camera is not None:
        out["camera"] = {
            "kind": face.camera.kind,
            "image_size": list(face.camera.image_size),
            "convention": "pixel = K (R x + t) / depth; OpenCV axes, metres, pixel centres at .5",
            **{name: _numbers(getattr(face.camera, name)) for name in ("K", "R", "t")},
        }
    if face.track_id is not None:
        out["track_id"] = face.track_id
    return out


def prediction_to_dict(prediction: Prediction) -> dict[str, Any]:
    """Return a picture's faces as JSON values."""
    height, width = prediction.image.shape[:2]
    return {
        "schema": _SCHEMA,
        "source": prediction.source,
        "image_size": [height, width],
        "model": prediction.model,
        "detector": prediction.detector,
        "faces": [face_to_dict(face) for face in prediction],
    }


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def _numbers(value: Any) -> Any:
    # Seven significant digits are what float32 holds; 0.1 must not become 0.10000000149011612.
    return _rounded(_numpy(value).astype(np.float64).tolist())


def _rounded(value: Any) -> Any:
    return [_rounded(item) for item in value] if isinstance(value, list) else float(f"{value:.7g}")


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _stem(source: str) -> str:
    name = Path(source).stem if source and (os.sep in source or "." in source or "/" in source) else "picture"
    return name or "picture"


def png_bytes(picture: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
