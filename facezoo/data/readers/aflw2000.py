"""Faces of AFLW2000-3D with the original labels and the LS3D-W re-annotation, from one ``landmarks.json``.

Zhu et al., "Face alignment across large poses", CVPR 2016; Bulat and Tzimiropoulos, ICCV 2017.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facezoo.data.readers.base import FaceSample, ReaderInfo, points68, read_annotations
from facezoo.errors import AssetError
from facezoo.geometry.crop import tight_box

_ONE_BASED = -0.5  # the file's first pixel is 1, its centre ours 0.5


class Aflw2000Reader:
    """One face a picture. Label sets: ``original``, ``reannotated``."""

    info = ReaderInfo(
        licence="research only; the photographs belong to their authors",
        url="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
        landmarks="ibug68",
        note="jaw points fixed to the 3D jaw; the two label sets differ by an NME of 3.09 over all 2,000",
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table = read_annotations(folder)
        self._names = sorted(self._table)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> FaceSample:
        name = self._names[index]
        entry = self._table[name]
        try:
            raw = {"original": entry["pts68_3d"], "reannotated": entry["pts68_reannotated"]}
            yaw = float(entry["yaw_deg"])
        except (KeyError, TypeError, ValueError) as error:
            raise AssetError(f"{self.folder / 'landmarks.json'}: {name} lacks {error}.") from error
        labels = {
            key: points68(np.transpose(values), _ONE_BASED, f"{self.folder / name} ({key})")
            for key, values in raw.items()
        }
        return FaceSample(self.folder / name, labels, tight_box(labels["original"]), yaw)
