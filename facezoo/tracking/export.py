"""Tracks as files: NPZ in the layout of FlowFace's authors, GLB with an animation, pictures with the mesh drawn in."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.data.video import FrameSource
from facezoo.errors import InputError, unknown_name
from facezoo.geometry.rotations import matrix_to_axis_angle
from facezoo.heads.params import HeadParams
from facezoo.mesh.io import write_glb
from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.glb_animation import Animation, add_animation
from facezoo.tracking.track import PersonTrack, Track
from facezoo.types import Face
from facezoo.viz.mesh import face_mesh
from facezoo.viz.overlay import draw_faces
from facezoo.viz.save import png_bytes

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
    raise unknown_name("track format", path.name, ("*.npz", "*.alignment.npz", "*.glb"))


def fit_arrays(person: PersonTrack) -> Arrays:
    """Return the fit under the names of FlowFace's ``fit.npz`` (one camera), and what our head has beside it.

    Rotations are axis-angle from the head to OpenGL camera axes, about the origin; translations are metres there.
    ``jaw_rot`` is not in the original, whose head has no jaw joint; eyes are at rest.
    """
    p, frames = person.params, len(person)
    assert p.identity is not None and p.expression is not None and p.jaw is not None
    K = person.K.double().numpy()
    flip = torch.diag(torch.from_numpy(_GL)).to(person.R)
    rms = person.rms[torch.isfinite(person.rms)]
    height, width = person.image_size
    focal = K[-1]
    return {
        "fx": focal[None, None, 0, 0],
        "fy": focal[None, None, 1, 1],
        "cx": focal[None, None, 0, 2],
        "cy": focal[None, None, 1, 2],
        "extr": np.eye(4, dtype=np.float32)[None],
        "shape": _floats(p.identity[-1]),
        "expr": _floats(p.expression),
        "rot": _floats(matrix_to_axis_angle(flip @ person.R)),
        "tra": _floats(person.t @ flip),
        "eye_rot": np.zeros((frames, 3), np.float32),
        "neck_rot": np.zeros((frames, 3), np.float32),
        "jaw_rot": _floats(p.jaw),
        "fps": np.float32(person.fps),
        "error": np.float32(rms.mean() if len(rms) else np.nan),
        "valid_mask": person.seen[None],
        "detection_boxes": _over_time(person, person.observations.boxes)[None],
        "resolutions": np.array([[width, height]], np.int64),
        "camera_order": np.array(["camera"]),
        "frames": person.frames,
        "segment": person.segment,
        "head_id": np.array(person.head.head_id),
    }


def alignment_arrays(person: PersonTrack) -> Arrays:
    """Return the observations under the names of FlowFace's ``alignment.npz``; vertices not observed are NaN."""
    seen, frames, count = person.observations, len(person), person.head.n_vertices
    at, ids = np.searchsorted(person.frames, seen.frames), person.vertex_ids.numpy()
    coords = np.full((1, frames, count, 2), np.nan, np.float32)
    spread = np.full((1, frames, count, 1), np.nan, np.float32)
    coords[0, at[:, None], ids], spread[0, at[:, None], ids, 0] = seen.points, seen.sigma
    height, width = person.image_size
    return {
        "vertex_coords": coords,
        "vertex_confidences": spread,
        "crop_boxes": _over_time(person, seen.boxes)[None],
        "valid_mask": person.seen[None],
        "resolutions": np.array([[width, height]], np.int64),
        "n_views": np.array(1),
        "n_timesteps": np.array(frames),
        "frames": person.frames,
        "head_id": np.array(person.head.head_id),
    }


def animated_glb(person: PersonTrack) -> bytes:
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
    animation = Animation(
        times=((person.frames - person.frames[0]) / person.fps).astype(np.float32),
        weights=weights,
        rotations=quaternions((flip @ person.R).double().numpy()),
        translations=_floats(person.t @ flip),
    )
    head = person.head
    with tempfile.TemporaryDirectory() as folder:
        path = write_glb(
            Path(folder) / "head.glb",
            mesh,
            copyright=f"head {head.head_id}: {head.licence}; made with facezoo",
        )
        return add_animation(path.read_bytes(), animation)


def quaternions(R: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return unit quaternions (T, 4), x y z w as glTF has them, neighbours on the same side of the sphere."""
    from scipy.spatial.transform import Rotation

    out = Rotation.from_matrix(R).as_quat()
    for i in range(1, len(out)):
        if out[i] @ out[i - 1] < 0:
            out[i] = -out[i]
    return out.astype(np.float32)


def write_overlays(
    track: Track,
    source: FrameSource,
    folder: Path,
    style: str = "mesh",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draw the fitted heads into every frame: ``000000.png`` and so on.

    Raises:
        InputError: the frames are not those that were tracked.
    """
    written = []
    for number, image in enumerate(source.frames()):
        if image.size != track.image_size or number >= track.frames:
            raise InputError(f"{source.name} is not what was tracked: frame {number} is {image.size}.")
        picture = draw_faces(image, track.faces(number), style, scale=1)
        written.append(write_bytes(folder / f"{number:06d}.png", png_bytes(picture)))
        if progress is not None:
            progress(number + 1, track.frames)
    return written


def _over_time(person: PersonTrack, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spread values of seen frames over all rows, NaN elsewhere."""
    out = np.full((len(person), *values.shape[1:]), np.nan, np.float32)
    out[np.searchsorted(person.frames, person.observations.frames)] = values
    return out


def _floats(value: torch.Tensor) -> NDArray[np.float32]:
    return value.detach().cpu().float().numpy()


def _write_npz(path: Path, arrays: Arrays) -> Path:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return write_bytes(path, buffer.getvalue())
