"""Tracks as files: NPZ in the layout of FlowFace's authors, GLB and USDA with an animation."""

from __future__ import annotations

import io
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.errors import unknown_name
from facezoo.geometry.rotations import matrix_to_axis_angle
from facezoo.heads.params import HeadParams
from facezoo.mesh.io import write_glb, write_usda
from facezoo.mesh.io.animation import Animation
from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.glb_animation import add_animation
from facezoo.mesh.mesh import Mesh
from facezoo.tracking.observe import Observations
from facezoo.tracking.track import PersonTrack, View
from facezoo.types import Face
from facezoo.viz.mesh import face_mesh

_GL = np.array([1.0, -1.0, -1.0])  # OpenCV camera axes to OpenGL's and back
Arrays = dict[str, NDArray[Any]]


def save_person(person: PersonTrack, path: Path) -> Path:
    """Write one person; see :meth:`PersonTrack.save`."""
    name = path.name.lower()
    if name.endswith(".alignment.npz"):
        return _write_npz(path, alignment_arrays(person))
    if name.endswith(".npz"):
        return _write_npz(path, fit_arrays(person))
    if name.endswith(".glb"):
        return write_bytes(path, animated_glb(person))
    if name.endswith(".usda"):
        return write_usda(path, *animated_mesh(person), comment=_credit(person))
    raise unknown_name("track format", path.name, ("*.npz", "*.alignment.npz", "*.glb", "*.usda"))


def _views(person: PersonTrack) -> tuple[View, ...]:
    """Return all cameras; of a single one the world is the camera."""
    if person.views:
        return person.views
    return (View("camera", person.K[-1], torch.eye(4), person.image_size, person.observations, person.rms),)


def fit_arrays(person: PersonTrack) -> Arrays:
    """Return the fit under the names of FlowFace's ``fit.npz``, and what our head has beside it.

    Rotations are axis-angle from the head to OpenGL axes of the world (of one camera: the camera), about the origin;
    translations are metres there. ``extr`` takes OpenCV axes of the world to the cameras. ``jaw_rot`` is not in the
    original, whose head has no jaw joint.
    """
    p, frames, views = person.params, len(person), _views(person)
    assert p.identity is not None and p.expression is not None and p.jaw is not None
    K = torch.stack([view.K for view in views]).double().numpy()[..., None]
    first = views[0].extrinsics.to(person.R)
    flip = torch.diag(torch.from_numpy(_GL)).to(person.R)
    R = first[:3, :3].mT @ person.R
    t = (person.t - first[:3, 3]) @ first[:3, :3]
    rms = person.rms[torch.isfinite(person.rms)]
    rest = torch.zeros(1, 3)
    eyes = rest if p.left_eye is None else p.left_eye
    neck = rest if p.neck is None else p.neck
    return {
        "fx": K[:, 0, 0],
        "fy": K[:, 1, 1],
        "cx": K[:, 0, 2],
        "cy": K[:, 1, 2],
        "extr": np.stack([_floats(view.extrinsics) for view in views]),
        "shape": _floats(p.identity[-1]),
        "expr": _floats(p.expression),
        "rot": _floats(matrix_to_axis_angle(flip @ R)),
        "tra": _floats(t @ flip),
        "eye_rot": _floats(eyes.expand(frames, 3)),
        "neck_rot": _floats(neck.expand(frames, 3)),
        "jaw_rot": _floats(p.jaw),
        "fps": np.array(person.fps, np.float32),
        "error": np.array(float(rms.mean()) if len(rms) else np.nan, np.float32),
        "valid_mask": np.stack([_seen(person, view) for view in views]),
        "detection_boxes": np.stack([_over_time(person, view, view.observations.boxes) for view in views]),
        "resolutions": np.array([view.image_size[::-1] for view in views], np.int64),
        "camera_order": np.array([view.name for view in views]),
        "frames": person.frames,
        "segment": person.segment,
        "head_id": np.array(person.head.head_id),
    }


def alignment_arrays(person: PersonTrack) -> Arrays:
    """Return the observations under the names of FlowFace's ``alignment.npz``; vertices not observed are NaN."""
    views, frames, count = _views(person), len(person), person.head.n_vertices
    ids = person.vertex_ids.numpy()
    coords = np.full((len(views), frames, count, 2), np.nan, np.float32)
    spread = np.full((len(views), frames, count, 1), np.nan, np.float32)
    for row, view in enumerate(views):
        at = _rows(person, view.observations)
        coords[row, at[:, None], ids] = view.observations.points
        spread[row, at[:, None], ids, 0] = view.observations.sigma
    return {
        "vertex_coords": coords,
        "vertex_confidences": spread,
        "crop_boxes": np.stack([_over_time(person, view, view.observations.boxes) for view in views]),
        "valid_mask": np.stack([_seen(person, view) for view in views]),
        "resolutions": np.array([view.image_size[::-1] for view in views], np.int64),
        "n_views": np.array(len(views)),
        "n_timesteps": np.array(frames),
        "frames": person.frames,
        "head_id": np.array(person.head.head_id),
    }


def animated_mesh(person: PersonTrack) -> tuple[Mesh, Animation]:
    """Return the neutral head with morph targets that play the expressions, moving in camera space (OpenGL axes).

    The jaw's rotation is played by the targets ``jawOpen``, ``jawLeft`` and ``jawRight``: straight lines for arcs.
    """
    p = person.params
    assert p.identity is not None and p.expression is not None and p.jaw is not None
    neutral = HeadParams(identity=p.identity[-1:].to(person.head.v_template))
    face = Face(
        box=torch.zeros(4), score=1.0, landmarks={}, head_id=person.head.head_id, params=neutral,
        vertices=person.head(neutral).vertices[0], head=person.head,
    )  # fmt: skip
    mesh = replace(face_mesh(face), name=f"person{person.number}")
    weights = np.zeros((len(person), len(mesh.morph_targets)), np.float32)
    names = list(mesh.morph_targets)
    for i, name in enumerate(person.head.params["expression"].names):
        if name in names and i < p.expression.shape[1]:
            weights[:, names.index(name)] = _floats(p.expression[:, i])
    jaw = _floats(p.jaw)
    for name, (joint, axis, degrees) in person.head.meta.get("joint_shapes", {}).items():
        if joint == "jaw" and name in names:
            weights[:, names.index(name)] = np.maximum(jaw[:, axis] / math.radians(degrees), 0)
    flip = torch.diag(torch.from_numpy(_GL)).to(person.R)
    return mesh, Animation(
        times=((person.frames - person.frames[0]) / person.fps).astype(np.float32),
        weights=weights,
        rotations=quaternions((flip @ person.R).double().numpy()),
        translations=_floats(person.t @ flip),
    )


def animated_glb(person: PersonTrack) -> bytes:
    """Return :func:`animated_mesh` as a GLB file."""
    mesh, animation = animated_mesh(person)
    with tempfile.TemporaryDirectory() as folder:
        path = write_glb(Path(folder) / "head.glb", mesh, copyright=_credit(person))
        return add_animation(path.read_bytes(), animation)


def _credit(person: PersonTrack) -> str:
    return f"head {person.head.head_id}: {person.head.licence}; made with facezoo"


def quaternions(R: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return unit quaternions (T, 4), x y z w as glTF has them, neighbours on the same side of the sphere."""
    from scipy.spatial.transform import Rotation

    out = Rotation.from_matrix(R).as_quat()
    for i in range(1, len(out)):
        if out[i] @ out[i - 1] < 0:
            out[i] = -out[i]
    return out.astype(np.float32)


def _rows(person: PersonTrack, seen: Observations) -> NDArray[np.int64]:
    return np.searchsorted(person.frames, seen.frames)


def _seen(person: PersonTrack, view: View) -> NDArray[np.bool_]:
    """Return (T,) in which frames a camera saw the person."""
    out = np.zeros(len(person), bool)
    out[_rows(person, view.observations)] = True
    return out


def _over_time(person: PersonTrack, view: View, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spread values of a camera's frames over all rows, NaN elsewhere."""
    out = np.full((len(person), *values.shape[1:]), np.nan, np.float32)
    out[_rows(person, view.observations)] = values
    return out


def _floats(value: torch.Tensor) -> NDArray[np.float32]:
    return value.detach().cpu().float().numpy()


def _write_npz(path: Path, arrays: Arrays) -> Path:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return write_bytes(path, buffer.getvalue())
