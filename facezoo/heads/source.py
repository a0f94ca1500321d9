"""A download as its user has it: a folder, a zip, or one file with others beside it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facezoo.errors import AssetError, InputError
from facezoo.heads.pickle_records import MAX_FILE


@dataclass(frozen=True)
class Entry:
    """One file of a download.

    Attributes:
        name: lower-case base name.
        folder: the folder it lies in.
        shown: its path for messages and for the record of sources.
        read: reads it.
    """

    name: str
    folder: str
    shown: str
    read: Callable[[], bytes]


def list_entries(path: str | os.PathLike[str]) -> tuple[list[Entry], Entry | None]:
    """List the files of a download without reading them.

    Args:
        path: a folder (looked at together with its direct subfolders), a zip, or one file (looked at
            together with what lies beside it).

    Returns:
        The files, and the one that ``path`` itself names, if it names one.

    Raises:
        InputError: ``path`` does not exist.
        AssetError: a damaged zip.
    """
    path = Path(path).expanduser().absolute()
    if path.is_dir():
        return [_on_disk(p) for p in sorted((*path.glob("*"), *path.glob("*/*"))) if p.is_file()], None
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a pickle, or the folder or zip that holds it.")
    # An .npz is a zip too, but never the download itself.
    if path.suffix != ".npz" and zipfile.is_zipfile(path):
        return _in_zip(path), None
    beside = [_on_disk(p) for p in sorted(path.parent.glob("*")) if p.is_file() and p != path]
    given = _on_disk(path)
    return [*beside, given], given


def beside(entries: list[Entry], model: Entry) -> dict[str, Entry]:
    """Return base name -> file for all but the model; of two of one name, the one in the model's folder."""
    ordered = sorted(entries, key=lambda entry: entry.folder == model.folder)
    return {entry.name: entry for entry in ordered if entry is not model}


def _on_disk(path: Path) -> Entry:
    def read() -> bytes:
        try:
            if path.stat().st_size > MAX_FILE:
                raise AssetError(f"{path} is larger than {MAX_FILE >> 30} GiB: it is no model file.")
            return path.read_bytes()
        except OSError as error:
            raise AssetError(f"cannot read {path}: {error.strerror or error}.") from error

    return Entry(path.name.lower(), str(path.parent), str(path), read)


def _in_zip(path: Path) -> list[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
    except (zipfile.BadZipFile, OSError) as error:
        raise AssetError(f"{path} is a damaged zip ({error}).") from error

    def entry(member: zipfile.ZipInfo) -> Entry:
        def read() -> bytes:
            try:
                with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
                    data = stream.read(MAX_FILE + 1)
            except Exception as error:  # encrypted, cut, damaged: zipfile and zlib each have their own kinds
                raise AssetError(f"{path}: cannot unpack {member.filename} ({error}).") from error
            if len(data) > MAX_FILE:
                raise AssetError(f"{path}: {member.filename} is larger than {MAX_FILE >> 30} GiB.")
            return data

        folder, _, base = member.filename.rpartition("/")
        return Entry(base.lower(), f"{path}/{folder}", f"{path}/{member.filename}", read)

    return [entry(member) for member in members]
