"""Which pictures a folder holds, and what the files of each are called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from facezoo.data.images import SUFFIXES
from facezoo.errors import ImageError, InputError


@dataclass(frozen=True)
class Picture:
    """One input of a folder.

    Attributes:
        name: its path below the input folder, with forward slashes; its key everywhere.
        stem: how its files' paths below the output folder begin; no other picture of the folder has it.
        size: of the file in bytes; -1 where it cannot be told.
    """

    name: str
    stem: str
    size: int

    @property
    def mark(self) -> str:
        """The file that is written last: where it lies, the picture is finished."""
        return f"{self.stem}.json"


def find_pictures(folder: Path, out: Path, formats: Iterable[str]) -> list[Picture]:
    """List the pictures of a folder and of its sub-folders, sorted by name.

    Hidden files, hidden folders, links to folders and the output folder are left out.

    Args:
        folder: where to look.
        out: the output folder.
        formats: suffixes of the files that will be written for each face.

    Raises:
        ImageError: there is none.
        InputError: a folder cannot be read.
    """
    names = sorted(_walk(folder, out.resolve()))
    if not names:
        raise ImageError(f"the folder {folder} and its sub-folders hold no image ({', '.join(SUFFIXES)}).")
    stems = output_stems(names, formats)
    return [Picture(name, stem, _size(folder / name)) for name, stem in zip(names, stems, strict=True)]


def output_stems(names: Sequence[str], formats: Iterable[str] = ()) -> list[str]:
    """Name each picture's files: its path without the suffix, or with it where that would be another picture's.

    ``a.jpg`` gives ``a``; ``a.jpg`` beside ``a.png`` give ``a.jpg`` and ``a.png``. Case does not tell names apart, as
    on many disks it does not. JSON files of faces are named ``<stem>_<n>.json``, which must not be the file of a
    picture called ``<stem>_<n>`` either.
    """
    numbered = "json" in {name.lower().lstrip(".") for name in formats}
    whole: set[str] = set()
    while True:
        stems = [name if name in whole else str(PurePosixPath(name).with_suffix("")) for name in names]
        owners: dict[str, int] = {}
        for stem in stems:
            owners[stem.casefold()] = owners.get(stem.casefold(), 0) + 1
        clashing = set()
        for name, stem in zip(names, stems, strict=True):
            face = re.fullmatch(r"(.+)_\d+", stem.casefold()) if numbered else None
            if owners[stem.casefold()] > 1 or (face is not None and face[1] in owners):
                clashing.add(name)
        if clashing <= whole:
            return stems
        whole |= clashing


def _walk(folder: Path, out: Path) -> Iterable[str]:
    def unreadable(error: OSError) -> None:
        raise InputError(f"the folder {error.filename} cannot be read: {error.strerror or error}.") from error

    for place, folders, files in os.walk(folder, onerror=unreadable):
        here = Path(place)
        folders[:] = [n for n in folders if not n.startswith(".") and (here / n).resolve() != out]
        for name in files:
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in SUFFIXES:
                yield (here / name).relative_to(folder).as_posix()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # a dangling link, or a file that has just gone: reading it will say what is wrong
