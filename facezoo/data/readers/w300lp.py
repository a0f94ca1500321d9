"""300W-LP as it is downloaded: AFW, HELEN, IBUG and LFPW with their turned copies, .jpg and .mat side by side.

Zhu et al. 2016. ``landmarks/<set>/<name>_pts.mat`` holds the 68 points in 2D (visible contour) and 3D (jaw) markup.
"""

from __future__ import annotations

from pathlib import Path

from facezoo.data.readers.base import ReaderInfo, points68
from facezoo.data.readers.mat_labels import ONE_BASED, MatLabels, PosedSample, read_mat, read_mat_labels
from facezoo.errors import AssetError
from facezoo.geometry.crop import tight_box


class W300LpReader:
    """One face a picture. Label sets: ``original`` (3D markup), ``contour`` (2D markup)."""

    info = ReaderInfo(
        licence="research only; the photographs belong to their authors",
        url="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
        landmarks="ibug68",
        note="labels are fits of the Basel Face Model, most pictures are synthetic turns of a photograph",
    )

    def __init__(self, folder: Path) -> None:
        """Find the pictures in all folders below.

        Raises:
            AssetError: there are none with labels.
        """
        self.folder = folder
        self._paths = sorted(
            p
            for p in folder.rglob("*.mat")
            if not p.stem.endswith("_pts") and p.with_suffix(".jpg").is_file()
        )
        if not self._paths:
            raise AssetError(
                f"{folder} does not hold 300W-LP: no .jpg with a .mat beside it; point root= at its folder."
            )

    def __len__(self) -> int:
        return len(self._paths)

    def picture(self, index: int) -> Path:
        """Return the file of a picture."""
        return self._paths[index].with_suffix(".jpg")

    def labels(self, index: int) -> MatLabels:
        """Return everything in the label file of a picture."""
        return read_mat_labels(self._paths[index])

    def __getitem__(self, index: int) -> PosedSample:
        path = self._paths[index]
        labels = self.labels(index)
        sets = {}
        pts = self.folder / "landmarks" / path.parent.relative_to(self.folder) / f"{path.stem}_pts.mat"
        if labels.points is not None:
            sets["original"] = points68(labels.points, ONE_BASED, str(path))
        elif pts.is_file():
            table = read_mat(pts, ("pts_3d",))
            if "pts_3d" not in table:
                raise AssetError(f"{pts} lacks pts_3d")
            sets["original"] = points68(table["pts_3d"], ONE_BASED, str(pts))
        if labels.points2d is not None:
            sets["contour"] = points68(labels.points2d, ONE_BASED, str(path))
        if not sets:
            raise AssetError(f"{path} has neither pt3d_68 nor pt2d, and there is no {pts}")
        pose = labels.pose_deg
        box = tight_box(next(iter(sets.values())))
        return PosedSample(path.with_suffix(".jpg"), sets, box, float(pose[0]), pose_deg=pose)
