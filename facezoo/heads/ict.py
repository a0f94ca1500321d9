"""ICT-FaceKit's published OBJ folder as a head file.

Li et al. 2020, "Learning Formation of Physically-Based Face Attributes".

``FaceXModel/`` holds ``generic_neutral_mesh.obj``, ``identity000.obj`` to ``identity099.obj`` and one OBJ an expression
(``browDown_L.obj``, ...), all whole meshes of one topology in centimetres. There is no skeleton: joints are placed by
landmarks, the jaw stays with the expressions, and only the neck turns. Expressions were sculpted on a fixed skull.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from facezoo.errors import AssetError
from facezoo.heads.file import write_head
from facezoo.heads.registry import head_path
from facezoo.mesh.io.obj import read_obj
from facezoo.mesh.io.source import read_bytes

NEUTRAL = "generic_neutral_mesh.obj"
_CENTIMETRE = 0.01
_LICENCE = "MIT"
_SYMMETRIC = 2e-4  # metres: how far a vertex may lie from its mirror image
_NECK_FADE = 0.06  # metres over which the skin leaves the skull's motion for the body's
# Expressions whose names tell what moves no skin of the face are of no use here.
_PUPILS = "PupilDilate"


@dataclass(frozen=True)
class IctLayout:
    """Which vertices are what.

    Attributes:
        parts: name -> first vertex and the one after the last.
        landmarks: 68 vertices in Multi-PIE order, which is iBUG's.
    """

    parts: Mapping[str, tuple[int, int]]
    landmarks: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of vertices."""
        return max(end for _, end in self.parts.values())


# The table of the repository's README.
PUBLISHED = IctLayout(
    parts={
        "face": (0, 9409), "head": (9409, 11248), "mouth_socket": (11248, 13294), "eye_sockets": (13294, 14062),
        "gums": (14062, 17039), "teeth": (17039, 21451), "left_eyeball": (21451, 23021),
        "right_eyeball": (23021, 24591), "eye_parts": (24591, 26719),
    },
    landmarks=(
        1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
        268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
        1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
        5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841,
        5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
    ),
)  # fmt: skip


def add_ict(
    folder: str | os.PathLike[str],
    name: str = "ict",
    cache_dir: str | os.PathLike[str] | None = None,
    layout: IctLayout = PUBLISHED,
) -> Path:
    """Convert the folder once, so that ``head=ict`` works wherever a head is asked for.

    Args:
        folder: ``FaceXModel`` of a download of ICT-FaceKit, or the folder above it.
        name: what to call the head.
        cache_dir: other cache than $FACEZOO_CACHE or ~/.cache/facezoo.
        layout: of the topology.

    Returns:
        The head file.

    Raises:
        AssetError: the folder is not ICT-FaceKit's, or a file is damaged or of another topology.
    """
    path = Path(folder)
    path = path / "FaceXModel" if (path / "FaceXModel").is_dir() else path
    arrays, meta = ict_arrays(path, layout)
    return write_head(head_path(name, cache_dir), arrays, {**meta, "head_id": name})


def ict_arrays(folder: Path, layout: IctLayout = PUBLISHED) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the folder into arrays and metadata of a head file; see :func:`add_ict`."""
    if not (folder / NEUTRAL).is_file():
        raise AssetError(f"{folder} holds no {NEUTRAL}; give the folder FaceXModel of ICT-FaceKit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its material file is not wanted
        mesh = read_obj(folder / NEUTRAL)
    template = mesh.vertices * np.float32(_CENTIMETRE)
    if len(template) != layout.size:
        raise AssetError(f"{folder / NEUTRAL} has {len(template)} vertices, ICT-FaceKit has {layout.size}")
    files = sorted(p for p in folder.glob("*.obj") if p.name != NEUTRAL and not p.stem.startswith(_PUPILS))
    identities = [p for p in files if p.stem.startswith("identity")]
    expressions = [p for p in files if not p.stem.startswith("identity")]
    if not identities or not expressions:
        raise AssetError(
            f"{folder} holds {len(identities)} identity and {len(expressions)} expression shapes; expected both"
        )
    shapes = [_positions(p, layout.size) * _CENTIMETRE - template for p in (*identities, *expressions)]
    joints = _joints(template, layout)
    count = len(template)
    arrays: dict[str, NDArray[Any]] = {
        "v_template": template,
        "faces": mesh.faces.astype(np.int32),
        "shapedirs": np.stack(shapes, -1).astype(np.float32),
        "posedirs": np.zeros((36, 3 * count), np.float16),
        "weights": _weights(template, layout),
        "J_regressor.row": np.concatenate([np.full(len(ids), j) for j, ids in enumerate(joints)]).astype(
            np.int32
        ),
        "J_regressor.col": np.concatenate(joints).astype(np.int32),
        "J_regressor.val": np.concatenate([np.full(len(ids), 1 / len(ids)) for ids in joints]).astype(
            np.float32
        ),
        **{f"mask.{key}": ids.astype(np.int32) for key, ids in _masks(template, layout).items() if len(ids)},
        **_landmarks(mesh.faces, layout),
    }
    mirror = _symmetry(template)
    if mirror is not None:
        arrays["symmetry"] = mirror
    return arrays, {
        "licence": _LICENCE,
        "n_identity": len(identities),
        "identity_names": [p.stem for p in identities],
        "expression_names": [p.stem for p in expressions],
        "expression_bounds": [[0.0, 1.0]] * len(expressions),
        "sources": "ICT-FaceKit, USC Institute for Creative Technologies",
    }


def _positions(path: Path, count: int) -> NDArray[np.float64]:
    """Read the positions of a shape: its faces are the neutral mesh's, and reading them 150 times takes minutes."""
    rows = [
        line[2:] for line in read_bytes(path).decode("utf-8", "replace").splitlines() if line.startswith("v ")
    ]
    try:
        values = np.array(" ".join(rows).split(), dtype=np.float64).reshape(len(rows), -1)[:, :3]
    except ValueError as error:
        raise AssetError(f"{path}: a vertex is not three numbers ({error})") from error
    if values.shape != (count, 3):
        raise AssetError(f"{path} has {len(values)} vertices, expected {count}")
    return values


def _range(layout: IctLayout, *names: str) -> NDArray[np.int64]:
    return np.concatenate(
        [np.arange(*layout.parts[name]) for name in names if name in layout.parts] or [np.zeros(0, np.int64)]
    )


def _masks(template: NDArray[np.float32], layout: IctLayout) -> dict[str, NDArray[np.int64]]:
    """Name regions by where they lie: below the chin is neck, beside the jaw's ends are the ears."""
    marks = template[list(layout.landmarks)]
    chin, nose = marks[8], marks[33]
    skin, back = _range(layout, "face"), _range(layout, "head")
    y, x = template[:, 1], np.abs(template[:, 0])
    side = min(abs(marks[0, 0]), abs(marks[16, 0]))
    neck_line = chin[1] - 0.004
    neck = np.concatenate([skin[y[skin] < neck_line], back[y[back] < (chin[1] + nose[1]) / 2]])
    above = skin[y[skin] >= neck_line]
    ear = above[(x[above] > 1.02 * side) & (template[above, 2] < marks[[0, 16], 2].mean())]
    left = ear[template[ear, 0] > 0]
    face = np.setdiff1d(above, ear)
    return {
        "face": face,
        "upper_face": face[y[face] > nose[1]],
        "cranium": np.setdiff1d(back, neck),
        "left_ear": left,
        "right_ear": np.setdiff1d(ear, left),
        "neck": np.sort(neck),
        "left_eyeball": _range(layout, "left_eyeball"),
        "right_eyeball": _range(layout, "right_eyeball"),
        "eye_socket": _range(layout, "eye_sockets"),
        "eye_parts": _range(layout, "eye_parts"),
        "mouth_interior": _range(layout, "mouth_socket"),
        "gums": _range(layout, "gums"),
        "teeth": _range(layout, "teeth"),
    }


def _joints(template: NDArray[np.float32], layout: IctLayout) -> list[NDArray[np.int64]]:
    """Return the vertices whose means are root, neck, jaw, left and right eye."""
    marks = template[list(layout.landmarks)]
    head = _range(layout, "face", "head")
    y = template[head, 1]
    lowest = head[y <= np.quantile(y, 0.03)]
    skull_base = head[np.abs(y - marks[8, 1]) < 0.01]
    jaw = np.array([layout.landmarks[i] for i in (1, 15)])
    eyes = [_range(layout, f"{side}_eyeball") for side in ("left", "right")]
    lids = [np.array([layout.landmarks[i] for i in ids]) for ids in (range(42, 48), range(36, 42))]
    return [lowest, skull_base, jaw, *(eye if len(eye) else lid for eye, lid in zip(eyes, lids, strict=True))]


def _weights(template: NDArray[np.float32], layout: IctLayout) -> NDArray[np.float32]:
    """Let everything follow the skull but the neck, which fades into the body, and the eyeballs."""
    weights = np.zeros((len(template), 5), np.float32)
    chin = template[layout.landmarks[8], 1]
    outside = _range(layout, "face", "head")
    weights[:, 1] = 1
    weights[outside, 1] = np.clip(1 - (chin - 0.01 - template[outside, 1]) / _NECK_FADE, 0, 1)
    weights[outside, 0] = 1 - weights[outside, 1]
    for joint, side in ((3, "left"), (4, "right")):
        ids = _range(layout, f"{side}_eyeball")
        weights[ids] = 0
        weights[ids, joint] = 1
    return weights


def _landmarks(faces: NDArray[np.int64], layout: IctLayout) -> dict[str, NDArray[Any]]:
    """Put the landmarks on the first triangle of each vertex; none where a vertex has no triangle."""
    triangles, bary = [], np.zeros((len(layout.landmarks), 3), np.float32)
    for row, vertex in enumerate(layout.landmarks):
        where = np.argwhere(faces == vertex)
        if not len(where):
            return {}
        triangles.append(where[0, 0])
        bary[row, where[0, 1]] = 1
    return {"landmarks.ibug68.faces": np.array(triangles, np.int32), "landmarks.ibug68.bary": bary}


def _symmetry(template: NDArray[np.float32]) -> NDArray[np.int32] | None:
    """Pair each vertex with its mirror image; None if the template is not symmetric."""
    distance, mirror = KDTree(template).query(template * np.array([-1, 1, 1], np.float32))
    if distance.max() > _SYMMETRIC or (mirror[mirror] != np.arange(len(template))).any():
        return None
    return mirror.astype(np.int32)
