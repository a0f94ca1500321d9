"""Faces of dlib's example photographs, annotated by dlib's own 68-point predictor and checked by eye."""

from __future__ import annotations

from pathlib import Path

from facezoo.data.readers.base import FaceSample, ReaderInfo, points68, read_annotations
from facezoo.errors import AssetError
from facezoo.geometry.crop import tight_box

_ZERO_BASED = 0.5


class DlibReader:
    """Several faces a picture. Label set: ``original``."""

    info = ReaderInfo(
        licence="research only; the photographs belong to their authors",
        url="https://github.com/davisking/dlib/tree/master/examples/faces",
        landmarks="ibug68_contour",
        note="jaw points follow the visible contour; differences of 1 % are noise",
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = read_annotations(folder)
        self._faces = [(name, face) for name in sorted(table) for face in table[name]]

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> FaceSample:
        name, face = self._faces[index]
        if not isinstance(face, dict) or "pts68" not in face:
            raise AssetError(f"{self.folder / 'landmarks.json'}: a face of {name} lacks 'pts68'.")
        points = points68(face["pts68"], _ZERO_BASED, str(self.folder / name))
        return FaceSample(self.folder / name, {"original": points}, tight_box(points))
