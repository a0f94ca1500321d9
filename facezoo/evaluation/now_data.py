"""The NoW benchmark's files: pictures with boxes, neutral scans with seven landmarks, lists of splits.

Expected below the root (https://now.is.tue.mpg.de, after registration): ``iphone_pictures`` and ``detected_face``, at
most two folders deep; ``imagepathsvalidation.txt`` or ``imagepathstest.txt`` beside them or in the root; and for the
validation split ``scans/<subject>/*.obj`` and ``scans_lmks_onlypp/<subject>/*.pp``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facezoo.errors import AssetError, unknown_name
from facezoo.evaluation.now_alignment import Array
from facezoo.heads.pickle_safe import read_object_npy
from facezoo.mesh import read_mesh

SPLITS = {"validation": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
_POINT = re.compile(r"<point\b[^>]*>")
_WEB = "https://now.is.tue.mpg.de"


@dataclass(frozen=True)
class Scan:
    """A neutral scan: ``vertices`` (S, 3) and ``landmarks`` (7, 3), millimetres."""

    vertices: Array
    landmarks: Array


@dataclass(frozen=True)
class NowPicture:
    """One picture of the benchmark.

    Attributes:
        subject: whose scan it is compared with.
        challenge: ``"neutral"``, ``"expression"``, ``"occlusion"`` or ``"selfie"``.
        name: of prediction files, ``<subject>/<challenge folder>/<picture without suffix>``.
        path: the picture.
        box: (x0, y0, x1, y1) of the face as the benchmark gives it, pixels.
    """

    subject: str
    challenge: str
    name: str
    path: Path
    box: tuple[float, float, float, float]


class NowBenchmark:
    """Pictures of a split and the scans they belong to."""

    def __init__(self, root: str | Path, split: str = "validation") -> None:
        """Read the list of pictures; boxes and scans are read when asked for.

        Raises:
            AssetError: the folder is not that of the benchmark, or lists a picture that is not there.
            UnknownNameError: no such split.
        """
        if split not in SPLITS:
            raise unknown_name("NoW split", split, SPLITS)
        self.root, self.split = Path(root), split
        found = [p for depth in ("", "*/", "*/*/") for p in sorted(self.root.glob(f"{depth}iphone_pictures"))]
        if not found:
            raise AssetError(
                f"{self.root} is not the NoW benchmark: no iphone_pictures in it; get it from {_WEB}."
            )
        self.folder = found[0].parent
        lists = [p for p in (self.folder / SPLITS[split], self.root / SPLITS[split]) if p.is_file()]
        if not lists:
            raise AssetError(
                f"{self.root} has no {SPLITS[split]}; get the list of the {split} split from {_WEB}."
            )
        self.names = [line.strip() for line in lists[0].read_text().splitlines() if line.strip()]
        missing = [n for n in self.names if not (self.folder / "iphone_pictures" / n).is_file()]
        if missing or not self.names:
            raise AssetError(
                f"{lists[0]} lists {len(self.names)} pictures, {len(missing)} are not in "
                f"{self.folder / 'iphone_pictures'}"
                f"{f', first {missing[0]}' if missing else ''}; a missing one invalidates the result."
            )
        self._scans: dict[str, Scan] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> NowPicture:
        path = Path(self.names[index])
        if len(path.parts) != 3:
            raise AssetError(
                f"{self.names[index]!r} is not subject/challenge/picture, as the benchmark's lists are."
            )
        return NowPicture(
            subject=path.parts[0],
            challenge=challenge_name(path.parts[1]),
            name=path.with_suffix("").as_posix(),
            path=self.folder / "iphone_pictures" / path,
            box=read_box(self.folder / "detected_face" / path.with_suffix(".npy")),
        )

    def scan(self, subject: str) -> Scan:
        """Return a subject's neutral scan, read once.

        Raises:
            AssetError: scan or landmarks are not there: the test split has none, its predictions are sent in.
        """
        if subject not in self._scans:
            mesh = self._only(f"scans/{subject}", "*.obj")
            points = self._only(f"scans_lmks_onlypp/{subject}", "*.pp")
            self._scans = {
                subject: Scan(read_mesh(mesh).vertices.astype(np.float64), read_picked_points(points))
            }
        return self._scans[subject]

    def _only(self, folder: str, pattern: str) -> Path:
        for base in (self.root, self.folder):
            found = sorted((base / folder).glob(pattern))
            if found:
                return found[0]
        raise AssetError(
            f"{self.root / folder} holds no {pattern}; scans come with the validation split only. For the test split "
            "export predictions with split=test out=DIR and send them in."
        )


def challenge_name(folder: str) -> str:
    """Turn a folder's name into its challenge: ``multiview_occlusions`` is ``occlusion``."""
    return folder.removeprefix("multiview_").removesuffix("s").lower()


def read_box(path: Path) -> tuple[float, float, float, float]:
    """Read a box that was stored as a pickled table, without executing it.

    Raises:
        AssetError: missing, damaged or of another kind.
    """
    table = read_object_npy(path)
    try:
        left, top, right, bottom = (float(table[key]) for key in ("left", "top", "right", "bottom"))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise AssetError(f"{path} holds no box with left, top, right and bottom.") from error
    return left, top, right, bottom


def read_picked_points(path: Path) -> Array:
    """Read the first seven points of a MeshLab ``.pp`` file: (7, 3).

    Raises:
        AssetError: unreadable or fewer points.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror or error}.") from error
    rows = []
    for point in _POINT.findall(text):
        values = dict(re.findall(r'\b([xyz])="([^"]*)"', point))
        try:
            rows.append([float(values[axis]) for axis in "xyz"])
        except (KeyError, ValueError) as error:
            raise AssetError(f"{path} holds a point that cannot be read: {point[:80]}") from error
    if len(rows) < 7:
        raise AssetError(f"{path} holds {len(rows)} points; the benchmark's files have 7.")
    return np.array(rows[:7])
