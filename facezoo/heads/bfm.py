"""The Basel Face Model as 3DDFA, 3DDFA_V2 and SynergyNet cut it, from the user's own files.

``python -m facezoo.heads.bfm FOLDER [NAME]`` writes a head once; ``head=NAME`` then works wherever a head is asked
for. FOLDER is SynergyNet's ``3dmm_data`` (u_shp.npy, ..., param_whitening.pkl) or 3DDFA_V2's ``configs``
(bfm_noneck_v3.pkl, param_mean_std_62d_120x120.pkl). No pickle is executed, and the result stays under the Basel Face
Model's academic licence.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import AssetError, FacezooError
from facezoo.heads.file import write_head
from facezoo.heads.pickle_safe import read_pickle
from facezoo.heads.registry import head_path

METRE = 1e-6  # the files count micrometres
NAME = "bfm-40-10"
LICENCE = "Basel Face Model 2009: academic use only; https://faces.dmi.unibas.ch/bfm/"
SUBSET = 1024  # vertices named as dense points, spread evenly over the ids
POSE = 12


def add_bfm(folder: str | Path, name: str = NAME, cache_dir: str | Path | None = None) -> Path:
    """Convert a folder of the Basel Face Model.

    The head has metres, one joint that moves, and coefficients in the standard deviations of the whitening file;
    ``meta["official_units"]`` leads back to the files' own.

    Args:
        folder: see the module.
        name: what to call the head.
        cache_dir: other cache than $FACEZOO_CACHE or ~/.cache/facezoo.

    Returns:
        The head file.

    Raises:
        AssetError: a file is missing, damaged, or does not belong to the others.
    """
    folder = Path(folder)
    mean, shape, expression, keypoints, triangles, deviations = _read(folder)
    vertices = len(mean) // 3
    ranks = shape.shape[1], expression.shape[1]
    if mean.size != 3 * vertices or len(shape) != len(mean) or len(expression) != len(mean):
        raise AssetError(
            f"{folder}: mean and bases have {len(mean)}, {len(shape)} and {len(expression)} rows"
        )
    if len(deviations) < POSE + sum(ranks) or not (deviations > 0).all():
        raise AssetError(
            f"{folder}: the whitening has {len(deviations)} deviations, expected {POSE} of the pose and {sum(ranks)}"
        )
    scale = deviations[POSE : POSE + sum(ranks)]
    ids = keypoints.reshape(68, 3)[:, 0] // 3
    faces = triangles.astype(np.int64)
    of_vertex = np.full(vertices, -1)
    for corner in range(3):
        of_vertex[faces[:, corner]] = np.arange(len(faces))
    if ids.min() < 0 or ids.max() >= vertices or (of_vertex[ids] < 0).any():
        raise AssetError(
            f"{folder}: a landmark is no vertex of the mesh; keypoints and triangles must be of one model"
        )
    landmark_faces = of_vertex[ids]
    bary = (faces[landmark_faces] == ids[:, None]).astype(np.float64)
    directions = np.concatenate([shape, expression], 1) * scale * METRE
    subset = np.unique(np.linspace(0, vertices - 1, min(SUBSET, vertices)).astype(np.int64))
    arrays = {
        "v_template": mean.reshape(vertices, 3) * METRE,
        "faces": faces,
        "shapedirs": directions.reshape(vertices, 3, -1),
        "posedirs": np.zeros((36, 3 * vertices), np.float32),
        "weights": np.tile(np.array([1.0, 0, 0, 0, 0], np.float32), (vertices, 1)),
        # all joints at the first five vertices' places: only the root moves, and coefficients alone drive the face
        "J_regressor.row": np.arange(5),
        "J_regressor.col": np.arange(5),
        "J_regressor.val": np.ones(5),
        "landmarks.ibug68.faces": landmark_faces,
        "landmarks.ibug68.bary": bary,
        f"subset.{len(subset)}": subset,
    }
    meta: dict[str, Any] = {
        "head_id": name,
        "kind": "bfm",
        "licence": LICENCE,
        "n_identity": ranks[0],
        "official_units": {
            "metre": METRE,
            "identity": scale[: ranks[0]].tolist(),
            "expression": scale[ranks[0] :].tolist(),
        },
    }
    return write_head(head_path(name, cache_dir), arrays, meta)


def read_whitening(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read mean and standard deviation of raw parameters: SynergyNet's or 3DDFA_V2's pickle, nothing executed.

    Raises:
        AssetError: missing, damaged, or of other content.
    """
    table = read_pickle(Path(path))
    for mean, std in (("param_mean", "param_std"), ("mean", "std")):
        if isinstance(table, dict) and mean in table and std in table:
            return _vector(table[mean], path), _vector(table[std], path)
    raise AssetError(f"{path} holds no param_mean and param_std: it is no whitening of 3DDFA or SynergyNet")


def _read(folder: Path) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray, NDArray]:
    """Return mean (3V,), shape (3V, n), expression (3V, m), keypoints (204,), triangles (F, 3), deviations."""
    packed = folder / "bfm_noneck_v3.pkl"
    if packed.is_file():
        table = read_pickle(packed)
        try:
            mean, shape, expression = (np.asarray(table[k], np.float64) for k in ("u", "w_shp", "w_exp"))
            keypoints = np.asarray(table["keypoints"]).astype(np.int64).ravel()
            triangles = np.asarray(table["tri"] if "tri" in table else read_pickle(folder / "tri.pkl"))
        except (KeyError, TypeError, ValueError) as error:
            raise AssetError(f"{packed} lacks {error}") from error
        triangles = triangles.T if triangles.shape[0] == 3 else triangles
        _, deviations = read_whitening(folder / "param_mean_std_62d_120x120.pkl")
        return mean.ravel(), shape[:, :40], expression[:, :10], keypoints, triangles, deviations
    parts = {}
    for name in ("u_shp", "u_exp", "w_shp_sim", "w_exp_sim", "keypoints_sim"):
        path = folder / f"{name}.npy"
        try:
            parts[name] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise AssetError(
                f"{path} cannot be read ({error}); give SynergyNet's 3dmm_data or 3DDFA_V2's configs folder"
            ) from error
    _, deviations = read_whitening(folder / "param_whitening.pkl")
    mean = (parts["u_shp"].astype(np.float64) + parts["u_exp"]).ravel()
    triangles = _matlab_triangles(folder / "tri.mat")
    keypoints = parts["keypoints_sim"].astype(np.int64).ravel()
    return mean, parts["w_shp_sim"][:, :40], parts["w_exp_sim"][:, :10], keypoints, triangles, deviations


def _matlab_triangles(path: Path) -> NDArray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        value = np.asarray(loadmat(path, variable_names=["tri"])["tri"]).astype(np.int64)
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MatReadError) as error:
        raise AssetError(f"{path} cannot be read as a MATLAB file with 'tri': {error}") from error
    return (value.T if value.shape[0] == 3 else value) - 1


def _vector(value: Any, path: str | Path) -> NDArray[np.float64]:
    vector = np.asarray(value, np.float64).ravel()
    if not np.isfinite(vector).all():
        raise AssetError(f"{path} holds numbers that are not finite")
    return vector


def main(arguments: list[str]) -> int:
    """Convert the folder that the arguments name; return the exit code."""
    if not 1 <= len(arguments) <= 2 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        print(add_bfm(*arguments))
    except FacezooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
