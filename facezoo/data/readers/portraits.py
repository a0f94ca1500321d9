"""Folders of photographs sorted by people, as they are published: VGGFace2, CelebA, VoxCeleb2.

A list of what is there: picture, person, and the box or the five points that the data set gives. 68 points come from
our own detector (:mod:`facezoo.data.label_photographs`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facezoo.data.images import SUFFIXES
from facezoo.data.readers.base import ReaderInfo
from facezoo.errors import AssetError, unknown_name

_PHOTOGRAPHERS = "the photographs belong to their authors"


@dataclass(frozen=True)
class Portraits:
    """Pictures of known people, one wanted face each.

    Attributes:
        layout: key of :data:`LAYOUTS`.
        root: the folder that ``names`` start at.
        names: (N) paths below ``root``, with forward slashes.
        person: (N,) int64.
        boxes: (N, 4) x0, y0, x1, y1 of the wanted face in pixels, NaN where the data set says nothing.
        points5: (N, 5, 2) eyes, nose and mouth corners from the picture's left to its right, NaN where unknown.
    """

    layout: str
    root: Path
    names: list[str]
    person: NDArray[np.int64]
    boxes: NDArray[np.float32]
    points5: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.names)

    def some(self, rows: NDArray[np.int64]) -> Portraits:
        """Return these pictures only."""
        names = [self.names[row] for row in rows.tolist()]
        return Portraits(
            self.layout, self.root, names, self.person[rows], self.boxes[rows], self.points5[rows]
        )

    def fewer(self, per_person: int) -> Portraits:
        """Return at most so many pictures of each person, the first ones; 0 for all."""
        if not per_person:
            return self
        order = np.argsort(self.person, kind="stable")
        _, first = np.unique(self.person[order], return_index=True)
        place = np.arange(len(order)) - np.repeat(first, np.diff([*first, len(order)]))
        return self.some(np.sort(order[place < per_person]))


def list_portraits(root: str | Path, layout: str = "auto") -> Portraits:
    """List a folder.

    Args:
        root: folder of the data set, as it was unpacked.
        layout: key of :data:`LAYOUTS`, or ``"auto"`` to look.

    Raises:
        UnknownNameError: no such layout.
        AssetError: the folder has no such pictures, or an annotation file is damaged.
    """
    root = Path(root).expanduser()
    if layout != "auto":
        if layout not in LAYOUTS:
            raise unknown_name("layout", layout, [*LAYOUTS, "auto"])
        return LAYOUTS[layout](root)
    problems = []
    for name, lister in LAYOUTS.items():
        try:
            return lister(root)
        except _Elsewhere as error:
            problems.append(f"{name}: {error}")
    raise AssetError(f"{root} is none of the layouts that are known. {' '.join(problems)}")


class _Elsewhere(AssetError):
    """The folder holds something else."""


def _vggface2(root: Path) -> Portraits:
    """``[train|test/]n000001/0001_01.jpg``, with ``loose_bb_*.csv`` and ``loose_landmark_*.csv`` if they are there."""
    names = _pictures(root, r"n\d+")
    if not names:
        raise _Elsewhere(f"no pictures like train/n000001/0001_01.jpg in {root}.")
    keys = ["/".join(name.rsplit(".", 1)[0].split("/")[-2:]) for name in names]
    boxes: dict[str, list[float]] = {}
    points: dict[str, list[float]] = {}
    for path in [*root.glob("loose_*.csv"), *root.glob("bb_landmark/loose_*.csv")]:
        wide = 4 if "_bb_" in path.name else 10
        (boxes if wide == 4 else points).update(_csv_rows(path, wide))
    box = _rows(boxes, keys, 4)
    box[:, 2:] += box[:, :2]
    person = [int(key.split("/")[0][1:]) for key in keys]
    return _portraits("vggface2", root, names, person, box, _rows(points, keys, 10))


def _celeba(root: Path) -> Portraits:
    """``[Img/]img_celeba/000001.jpg`` with ``[Anno/]identity_CelebA.txt`` and the lists of boxes and landmarks."""
    folder = _first(root, ("img_celeba", "Img/img_celeba"))
    if folder is None:
        raise _Elsewhere(f"no folder img_celeba in {root}.")
    identity = _first(root, ("identity_CelebA.txt", "Anno/identity_CelebA.txt"))
    if identity is None:
        raise AssetError(
            f"{root} lacks identity_CelebA.txt, which says whom its pictures show; put it there."
        )
    people = _text_rows(identity, 1)
    prefix = folder.relative_to(root).as_posix()
    files = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if missing := [name for name in files if name not in people]:
        raise AssetError(f"{identity} does not say whom {missing[0]} shows ({len(missing)} such pictures).")
    if not files:
        raise AssetError(f"{folder} holds no pictures.")
    tables = {}
    for name, wide in (("list_bbox_celeba.txt", 4), ("list_landmarks_celeba.txt", 10)):
        path = _first(root, (name, f"Anno/{name}"))
        tables[wide] = _rows(_text_rows(path, wide) if path else {}, files, wide)
    box = tables[4]
    box[:, 2:] += box[:, :2]
    person = [int(people[name][0]) for name in files]
    return _portraits("celeba", root, [f"{prefix}/{name}" for name in files], person, box, tables[10])


def _voxceleb2(root: Path) -> Portraits:
    """Frames ``id00012/VIDEO/[CLIP/]*.jpg``, below ``dev/mp4`` or not."""
    names = _pictures(root, r"id\d+")
    if not names:
        if next(root.glob("**/id[0-9]*/*/*.mp4"), None) is not None:
            raise AssetError(
                f"{root} holds VoxCeleb2's videos; take pictures out of them first: "
                f"'python -m facezoo.data.extract_frames root={root} out=FOLDER'"
            )
        raise _Elsewhere(f"no frames like id00012/VIDEO/0001.jpg in {root}.")
    person = [int(next(p for p in name.split("/") if re.fullmatch(r"id\d+", p))[2:]) for name in names]
    nothing = np.full((len(names), 14), np.nan, np.float32)
    return _portraits("voxceleb2", root, names, person, nothing[:, :4], nothing[:, 4:])


LAYOUTS: Mapping[str, Callable[[Path], Portraits]] = MappingProxyType(
    {"vggface2": _vggface2, "celeba": _celeba, "voxceleb2": _voxceleb2}
)
INFOS: Mapping[str, ReaderInfo] = MappingProxyType({
    "vggface2": ReaderInfo(
        f"research only; {_PHOTOGRAPHERS}", "https://github.com/ox-vgg/vgg_face2", "ibug68",
        "68 points are those of our own detector, not annotations",
    ),
    "celeba": ReaderInfo(
        f"non-commercial research only; {_PHOTOGRAPHERS}", "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "ibug68", "68 points are those of our own detector, not annotations",
    ),
    "voxceleb2": ReaderInfo(
        "CC BY 4.0 for the lists; the videos belong to their authors",
        "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html", "ibug68",
        "68 points are those of our own detector, not annotations",
    ),
})  # fmt: skip


def _portraits(
    layout: str,
    root: Path,
    names: list[str],
    person: list[int],
    boxes: NDArray[np.float32],
    points: NDArray[np.float32],
) -> Portraits:
    return Portraits(layout, root, names, np.array(person, np.int64), boxes, points.reshape(-1, 5, 2))


def _pictures(root: Path, person: str) -> list[str]:
    """Return all pictures below folders whose whole name matches ``person``, at most two folders down, sorted."""
    return sorted(
        path.relative_to(root).as_posix()
        for folder in _folders(root, re.compile(person), 2)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
    )


def _folders(root: Path, name: re.Pattern[str], depth: int) -> Iterator[Path]:
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if not path.is_dir():
            continue
        if name.fullmatch(path.name):
            yield path
        elif depth:
            yield from _folders(path, name, depth - 1)


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).exists()), None)


def _rows(table: Mapping[str, list[float]], keys: list[str], wide: int) -> NDArray[np.float32]:
    """Return the table's rows in the order of ``keys``, NaN where it has none; (N, wide)."""
    unknown = [float("nan")] * wide
    return np.array([table.get(key, unknown) for key in keys], np.float32).reshape(len(keys), wide)


def _csv_rows(path: Path, wide: int) -> dict[str, list[float]]:
    """Read ``NAME_ID,...`` rows: name in quotes, then numbers."""
    with path.open(newline="", encoding="utf-8") as file:
        return _numbers(path, ((row[0], row[1:]) for row in csv.reader(file) if row), wide)


def _text_rows(path: Path, wide: int) -> dict[str, list[float]]:
    """Read CelebA's lists: perhaps a count and a line of names, then a name and numbers a line."""
    with path.open(encoding="utf-8") as file:
        return _numbers(path, ((row[0], row[1:]) for row in map(str.split, file) if row), wide)


def _numbers(path: Path, rows: Iterator[tuple[str, list[str]]], wide: int) -> dict[str, list[float]]:
    """Turn rows into numbers; what stands before the first row that has a picture's name is a heading."""
    found: dict[str, list[float]] = {}
    for name, values in rows:
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = []
        if len(numbers) == wide:
            found[name] = numbers
        elif found:
            raise AssetError(f"{path}: the row of {name} holds {values}, expected {wide} numbers.")
    if not found:
        raise AssetError(f"{path} holds no row of a name and {wide} numbers.")
    return found
