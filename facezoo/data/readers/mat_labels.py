"""The ``.mat`` label files of 300W-LP and AFLW2000-3D: points, pose and coefficients of the Basel Face Model.

Zhu et al., "Face alignment across large poses", CVPR 2016. Only numeric arrays are read; nothing in a file is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.data.readers.base import FaceSample
from facezoo.errors import AssetError

ONE_BASED = -0.5  # the files' first pixel is 1, its centre ours 0.5


@dataclass(frozen=True)
class PosedSample(FaceSample):
    """A face with the pose that its dataset gives.

    Attributes:
        pose_deg: (3,) yaw, pitch, roll in degrees, in the convention of
            :func:`facezoo.geometry.rotations.matrix_to_euler`.
        points21: (21, 2) AFLW's points in pixels, pixel centres at .5.
        visible21: (21,) True where they are annotated.
    """

    pose_deg: Tensor | None = None
    points21: Tensor | None = None
    visible21: Tensor | None = None


@dataclass(frozen=True)
class MatLabels:
    """One label file, coordinates as in the file: pixels from 1, y down.

    Attributes:
        pose: (7,) pitch, yaw, roll in radians, tx, ty, tz, scale (pixels per model unit); ty counts upwards.
        shape: (n,) shape coefficients, their deviation included.
        expression: (m,) expression coefficients.
        points: (68, 3) fitted points, or None where the file has none (300W-LP keeps them elsewhere).
        points2d: (68, 2) or (21, 2) annotated points; -1 where missing.
        roi: (4,) the crop in the original photo, or None.
    """

    pose: NDArray[np.float64]
    shape: NDArray[np.float64]
    expression: NDArray[np.float64]
    points: NDArray[np.float64] | None
    points2d: NDArray[np.float64] | None
    roi: NDArray[np.float64] | None

    @property
    def pose_deg(self) -> Tensor:
        """Yaw, pitch, roll in degrees (3,)."""
        return torch.from_numpy(np.degrees(self.pose[[1, 0, 2]])).float()


def read_mat_labels(path: Path) -> MatLabels:
    """Read a label file.

    Raises:
        AssetError: missing, damaged, or without pose and coefficients.
    """
    table = read_mat(path, ("Pose_Para", "Shape_Para", "Exp_Para", "pt3d_68", "pt2d", "roi"))
    missing = [name for name in ("Pose_Para", "Shape_Para", "Exp_Para") if name not in table]
    if missing:
        raise AssetError(f"{path} lacks {', '.join(missing)}: it is no label file of 300W-LP or AFLW2000-3D")
    pose = table["Pose_Para"].ravel()
    if pose.shape != (7,):
        raise AssetError(f"{path}: Pose_Para has {pose.size} values, expected 7")
    return MatLabels(
        pose,
        table["Shape_Para"].ravel(),
        table["Exp_Para"].ravel(),
        _columns(table, "pt3d_68", (3, 68), path),
        _columns(table, "pt2d", (2, None), path),
        table["roi"].ravel() if "roi" in table else None,
    )


def read_mat(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Read numeric arrays of a MATLAB file as float64.

    Args:
        path: a file up to version 7.2.
        names: wanted variables; absent ones are left out.

    Raises:
        AssetError: unreadable, or a wanted variable is no numeric array.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        table = loadmat(path, variable_names=list(names))
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise AssetError(f"{path} cannot be read as a MATLAB file: {error}") from error
    out = {}
    for name in names:
        if name not in table:
            continue
        value = np.asarray(table[name])
        if value.dtype.kind not in "fiu" or not np.isfinite(value.astype(np.float64)).all():
            raise AssetError(f"{path}: {name} is {value.dtype}, expected finite numbers")
        out[name] = value.astype(np.float64)
    return out


def _columns(
    table: dict[str, NDArray[np.float64]], name: str, shape: tuple[int, int | None], path: Path
) -> NDArray[np.float64] | None:
    if name not in table:
        return None
    value = table[name]
    if value.ndim != 2 or value.shape[0] != shape[0] or shape[1] not in (None, value.shape[1]):
        raise AssetError(f"{path}: {name} has shape {value.shape}, expected {shape[0]} rows")
    return value.T
