"""AFLW2000-3D as it is downloaded: 2,000 pictures with .mat labels, and the re-annotation if its file lies there.

Zhu et al. 2016; the re-annotation is of Bulat and Tzimiropoulos, ICCV 2017 (LS3D-W), as 3DDFA's test package packs it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facezoo.data.readers.base import ReaderInfo, points68
from facezoo.data.readers.mat_labels import ONE_BASED, PosedSample, read_mat_labels
from facezoo.errors import AssetError
from facezoo.geometry.crop import tight_box

REANNOTATED = "AFLW2000-3D-Reannotated.pts68.npy"
ORIGINAL = "AFLW2000-3D.pts68.npy"
LIST = "AFLW2000-3D_crop.list"
_SAME = 0.1  # pixels between two copies of the same label


class Aflw2000FullReader:
    """One face a picture. Label sets: ``original`` (from the .mat files), ``reannotated`` where there is its file.

    The rows of the .npy files follow ``AFLW2000-3D_crop.list`` if it is there, else the sorted names; the original
    labels' own .npy file proves the order.
    """

    info = ReaderInfo(
        licence="research only; the photographs belong to their authors",
        url="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
        landmarks="ibug68",
        note="jaw points fixed to the 3D jaw; the two label sets differ by an NME of 3.09 over all 2,000",
    )

    def __init__(self, folder: Path) -> None:
        """Find the pictures.

        Raises:
            AssetError: there are none with labels, or a label file does not belong to them.
        """
        self.folder = folder
        self._names = sorted(p.stem for p in folder.glob("*.mat") if p.with_suffix(".jpg").is_file())
        if not self._names:
            raise AssetError(
                f"{folder} does not hold AFLW2000-3D: no .jpg with a .mat beside it; point root= at its folder."
            )
        self._row = {name: row for row, name in enumerate(self._order())}
        self._reannotated = self._table(REANNOTATED, 2)
        self._original = self._table(ORIGINAL, 3)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> PosedSample:
        name = self._names[index]
        path = self.folder / f"{name}.mat"
        labels = read_mat_labels(path)
        if labels.points is None:
            raise AssetError(f"{path} lacks pt3d_68")
        sets = {"original": points68(labels.points, ONE_BASED, str(path))}
        if self._original is not None:
            stored = self._original[self._row[name]]
            if np.abs(stored[:2].T - labels.points[:, :2]).max() > _SAME:
                raise AssetError(
                    f"{self.folder / ORIGINAL}: row {self._row[name]} is not {name}; its rows need {LIST} beside it"
                )
        if self._reannotated is not None:
            row = self._reannotated[self._row[name]]
            sets["reannotated"] = points68(row.T, ONE_BASED, f"{self.folder / REANNOTATED} ({name})")
        pose = labels.pose_deg
        picture = path.with_suffix(".jpg")
        return PosedSample(picture, sets, tight_box(sets["original"]), float(pose[0]), pose_deg=pose)

    def _order(self) -> list[str]:
        path = self.folder / LIST
        if not path.is_file():
            return self._names
        names = [Path(line.strip()).stem for line in path.read_text().splitlines() if line.strip()]
        missing = sorted(set(self._names) - set(names))
        if missing:
            raise AssetError(f"{path} does not name {missing[0]} ({len(missing)} pictures in all)")
        return names

    def _table(self, name: str, rows: int) -> NDArray | None:
        path = self.folder / name
        if not path.is_file():
            return None
        table = load_npy(path)
        if table.shape != (len(self._row), rows, 68):
            raise AssetError(f"{path} has shape {table.shape}, expected ({len(self._row)}, {rows}, 68)")
        return table


def load_npy(path: Path) -> NDArray:
    """Read a numeric .npy file; pickled objects are refused.

    Raises:
        AssetError: missing, damaged, or not numbers.
    """
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AssetError(f"{path} cannot be read as an array of numbers: {error}") from error
    if value.dtype.kind not in "fiu":
        raise AssetError(f"{path} holds {value.dtype}, expected numbers")
    return value
