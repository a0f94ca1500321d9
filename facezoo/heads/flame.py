"""The official FLAME files (2017-2023 and 2023 Open) as arrays of a head file.

Li, Bolkart, Black, Li, Romero: Learning a model of facial shape and expression from 4D scans, 2017. Every
function here takes plain data (:mod:`facezoo.heads.pickle_safe` reads the files) and returns arrays under
the keys of :mod:`facezoo.heads.file`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import AssetError
from facezoo.heads.check import FLAME_VERTICES, JOINTS, POSE_FEATURES
from facezoo.heads.pickle_records import SparseMatrix

Arrays = dict[str, NDArray[Any]]

# FLAME keeps 300 identity components before its expressions.
IDENTITY_COMPONENTS = 300
_OLD_NAMES = {
    "v_template": ("default_v", "template_v"),
    "J_regressor": ("joint_regressor",),
    "posedirs": ("blendshapes",),
    "f": ("faces",),
}
_PARENTS = (0, 1, 1, 1)  # of neck, jaw, left eye, right eye; the root's entry is 2^32 - 1
# Where both eyeballs lie in every full FLAME (specs/flame.md, measured on FLAME_masks.pkl).
_EYEBALLS = {"left_eyeball": range(3931, 4477), "right_eyeball": range(4477, 5023)}


def model_arrays(model: Any, source: str) -> tuple[Arrays, int]:
    """Turn a FLAME model pickle's dict into head arrays.

    Args:
        model: what :func:`facezoo.heads.pickle_safe.read_pickle` returns; V and the number of components are
            as found.
        source: the file, for errors.

    Returns:
        The arrays and the number of identity components (300, or all when there are no more).

    Raises:
        AssetError: a key is missing or has another shape, or the skeleton is not FLAME's.
    """
    if not isinstance(model, dict):
        raise AssetError(f"{source} holds a {type(model).__name__}, not FLAME's dict.")

    def get(name: str) -> Any:
        for key in (name, *_OLD_NAMES.get(name, ())):
            if key in model:
                return model[key]
        raise AssetError(
            f"{source} is no FLAME model: it lacks {name!r} (it has {', '.join(map(str, model))[:200]})."
        )

    def array(name: str, *shape: int | None) -> NDArray[Any]:
        value = get(name)
        found = value.shape if isinstance(value, np.ndarray) else type(value).__name__
        good = isinstance(value, np.ndarray) and len(found) == len(shape)
        if not good or any(s not in (None, f) for s, f in zip(shape, found, strict=True)):
            want = ", ".join("n" if s is None else str(s) for s in shape)
            raise AssetError(f"{source}: {name} must be an array of shape ({want}), found {found}.")
        return value

    template = array("v_template", None, 3)
    v = len(template)
    _check_skeleton(model, array("kintree_table", 2, JOINTS), source)
    shapedirs = array("shapedirs", v, 3, None)
    arrays: Arrays = {
        "v_template": template.astype(np.float32),
        "faces": array("f", None, 3).astype(np.int32),
        "shapedirs": shapedirs.astype(np.float32),
        "posedirs": array("posedirs", v, 3, POSE_FEATURES).reshape(3 * v, POSE_FEATURES).T.astype(np.float32),
        "weights": array("weights", v, JOINTS).astype(np.float32),
    }
    regressor = get("J_regressor")
    if isinstance(regressor, SparseMatrix) and regressor.shape == (JOINTS, v):
        row, col, val = regressor.coordinates()
    else:
        dense = array("J_regressor", JOINTS, v)
        row, col = np.nonzero(dense)
        val = dense[row, col]
    for part, value, dtype in (("row", row, np.int32), ("col", col, np.int32), ("val", val, np.float32)):
        arrays[f"J_regressor.{part}"] = value.astype(dtype)
    if v == FLAME_VERTICES:
        arrays |= {f"mask.{name}": np.array(ids, np.int32) for name, ids in _EYEBALLS.items()}
    return arrays, min(IDENTITY_COMPONENTS, shapedirs.shape[2])


def _check_skeleton(model: dict[str, Any], kintree: NDArray[Any], source: str) -> None:
    if tuple(int(p) for p in kintree[0, 1:]) != _PARENTS:
        raise AssetError(
            f"{source}: the joints' parents must be -1, 0, 1, 1, 1, found {kintree[0].tolist()}."
        )
    for key, want in (("bs_style", "lbs"), ("bs_type", "lrotmin")):
        if model.get(key, want) != want:
            raise AssetError(
                f"{source}: {key} must be {want!r}, found {model[key]!r}: this is no FLAME model."
            )


def embedding_arrays(data: Any, source: str) -> Arrays:
    """Turn a landmark embedding into landmark arrays.

    Knows DECA's ``landmark_embedding.npy`` (static 51, dynamic 79 x 17, full 68), the static pickles with 51
    or 68 points, RingNet's dynamic table, and the MediaPipe table with 105 points.

    Args:
        data: the dict in the file (an .npz as dict of arrays too).
        source: the file, for errors.

    Returns:
        ``landmarks.ibug51``, ``landmarks.ibug68`` (fixed jaw line), ``contour`` (jaw line by yaw),
        ``landmarks.mediapipe105`` with ``extra.mediapipe105_ids``: whichever the file holds.

    Raises:
        AssetError: not one of these.
    """
    if not isinstance(data, dict):
        raise AssetError(f"{source} holds a {type(data).__name__}, not a landmark embedding's dict.")
    arrays: Arrays = {}

    def put(name: str, faces_key: str, bary_key: str, *count: int) -> None:
        try:
            faces = np.asarray(data[faces_key]).astype(np.int64)
            bary = np.asarray(data[bary_key]).astype(np.float64)
            if not count and faces.ndim == 2 and len(faces) == 1:  # DECA stores its 68 points as (1, 68)
                faces, bary = faces[0], bary[0]
        except (ValueError, TypeError, KeyError) as error:
            raise AssetError(
                f"{source}: {faces_key} and {bary_key} must be arrays of numbers ({error})."
            ) from error
        name = name.format(n=len(faces)) if faces.ndim else name
        if (
            faces.ndim != (2 if count else 1)
            or (count and faces.shape != count)
            or bary.shape != (*faces.shape, 3)
        ):
            raise AssetError(f"{source}: {faces_key} has shape {faces.shape} and {bary_key} {bary.shape}.")
        arrays[f"{name}.faces"], arrays[f"{name}.bary"] = faces.astype(np.int32), bary.astype(np.float32)

    if "static_lmk_faces_idx" in data:
        put("landmarks.ibug{n}", "static_lmk_faces_idx", "static_lmk_bary_coords")
    if "full_lmk_faces_idx" in data:
        put("landmarks.ibug{n}", "full_lmk_faces_idx", "full_lmk_bary_coords")
    if "dynamic_lmk_faces_idx" in data:
        put("contour", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords", 79, 17)
    if "lmk_face_idx" in data:
        if np.ndim(data["lmk_face_idx"]) == 2:
            put("contour", "lmk_face_idx", "lmk_b_coords", 79, 17)
        elif "landmark_indices" in data:
            put("landmarks.mediapipe{n}", "lmk_face_idx", "lmk_b_coords")
            arrays["extra.mediapipe105_ids"] = np.asarray(data["landmark_indices"]).astype(np.int32)
        else:
            put("landmarks.ibug{n}", "lmk_face_idx", "lmk_b_coords")
    known = {f"landmarks.{name}.faces" for name in ("ibug51", "ibug68", "mediapipe105")} | {"contour.faces"}
    strange = [name for name in arrays if name.endswith(".faces") and name not in known]
    if not arrays or strange:
        raise AssetError(
            f"{source} is no FLAME landmark embedding: it has {', '.join(map(str, data))[:200]}."
        )
    return arrays


def mask_arrays(data: Any, source: str) -> Arrays:
    """Turn ``FLAME_masks.pkl`` into region masks; repeated ids (the file's lips have some) are dropped.

    Raises:
        AssetError: not a dict of index arrays.
    """
    good = isinstance(data, dict) and bool(data)
    if not good or not all(
        isinstance(v, np.ndarray) and v.ndim == 1 and v.dtype.kind in "iu" for v in data.values()
    ):
        raise AssetError(f"{source} is no FLAME_masks.pkl: expected region names with vertex ids.")
    return {f"mask.{name}": np.unique(ids).astype(np.int32) for name, ids in data.items()}


def uv_arrays(vt: NDArray[Any], ft: NDArray[Any], source: str) -> Arrays:
    """Turn FLAME's ``vt`` (T, 2) and ``ft`` (F, 3), as the head's UV map.

    Raises:
        AssetError: other shapes.
    """
    if vt.ndim != 2 or vt.shape[1] < 2 or ft.ndim != 2 or ft.shape[1] != 3:
        raise AssetError(f"{source}: vt must be (T, 2) and ft (F, 3), found {vt.shape} and {ft.shape}.")
    return {"uv": vt[:, :2].astype(np.float32), "uv_faces": ft.astype(np.int32)}
