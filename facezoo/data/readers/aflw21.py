"""AFLW with its 21 points, as 3DDFA's test package packs it: 120 px crops and four tables.

Köstinger et al. 2011; protocol of Zhu et al. 2016: 68 predicted points become 21, only annotated ones count, and the
box of the fitted 68 points normalises.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from facezoo.data.readers.aflw2000_full import load_npy
from facezoo.data.readers.base import ReaderInfo, points68
from facezoo.data.readers.mat_labels import ONE_BASED, PosedSample
from facezoo.errors import AssetError
from facezoo.geometry.crop import tight_box

_TABLES = {
    "yaws": "AFLW_GT_crop_yaws.npy",
    "roi": "AFLW_GT_crop_roi_box.npy",
    "pts68": "AFLW_GT_pts68.npy",
    "pts21": "AFLW_GT_pts21.npy",
}
LIST, PICTURES = "AFLW_GT_crop.list", "AFLW_GT_crop"
# Points of iBUG-68 whose mean is each of AFLW's 21: brows, eyes with centres, ears, nose, mouth with its centre, chin.
GROUPS = (
    (17,), (19,), (21,), (22,), (24,), (26,), (36,), (36, 37, 38, 39, 40, 41), (39,), (42,), (42, 43, 44, 45, 46, 47),
    (45,), (2,), (31,), (30,), (35,), (14,), (48,), (60, 61, 62, 63, 64, 65, 66, 67), (54,), (8,),
)  # fmt: skip


def to_21(points: Tensor) -> Tensor:
    """Turn iBUG-68 points (..., 68, 2) into AFLW's 21 (..., 21, 2)."""
    return torch.stack([points[..., list(group), :].mean(-2) for group in GROUPS], -2)


class AflwReader:
    """One face a crop; coordinates are of the 120 px crop. Label set: ``original``, the fitted 68 points.

    The 21 annotated points and their visibility are on the sample; the fitted points only normalise.
    """

    info = ReaderInfo(
        licence="research only, registration at TU Graz; the photographs belong to their authors",
        url="https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw/",
        landmarks="ibug68",
        note="the 68 points are fits; the annotation are the 21 points with their visibility",
    )

    def __init__(self, folder: Path) -> None:
        """Read the tables.

        Raises:
            AssetError: one is missing or they do not belong together.
        """
        self.folder = folder
        where = folder / "test.configs" if (folder / "test.configs").is_dir() else folder
        pictures = folder / "test.data" if (folder / "test.data").is_dir() else folder
        listing = pictures / LIST
        try:
            names = [line.strip() for line in listing.read_text().splitlines() if line.strip()]
        except OSError as error:
            raise AssetError(
                f"{folder} does not hold AFLW as 3DDFA packs it: {listing} is missing; point root= at the folder of "
                "test.data and test.configs."
            ) from error
        self._paths = [pictures / PICTURES / name for name in names]
        tables = {key: load_npy(where / name) for key, name in _TABLES.items()}
        self._roi, self._yaws = tables["roi"], tables["yaws"].reshape(-1)
        self._68, self._21 = tables["pts68"], tables["pts21"]
        shapes = {"roi": (4,), "yaws": (), "pts68": (self._68.shape[1], 68), "pts21": (2, 21)}
        for key, shape in shapes.items():
            found = self._yaws.shape if key == "yaws" else tables[key].shape
            if found != (len(names), *shape) or (key == "pts68" and self._68.shape[1] not in (2, 3)):
                raise AssetError(f"{where / _TABLES[key]} has shape {found}, expected {(len(names), *shape)}")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> PosedSample:
        owner = f"{self.folder} ({self._paths[index].name})"
        annotated = torch.from_numpy(self._21[index]).float().mT
        points = points68(self._68[index][:2].T, 0.0, owner)
        x0, y0, x1, y1 = (float(v) for v in self._roi[index])
        scale = torch.tensor([120 / (x1 - x0), 120 / (y1 - y0)])
        origin = torch.tensor([x0, y0])
        fitted = (points - origin) * scale
        return PosedSample(
            self._paths[index],
            {"original": fitted + ONE_BASED},
            tight_box(fitted + ONE_BASED),
            float(self._yaws[index]),
            points21=(annotated - origin) * scale + ONE_BASED,
            visible21=(annotated != -1).all(1),
        )
