"""Annotated photographs from disk: one reader a dataset, all behind one protocol."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import MappingProxyType

from facezoo.data.readers.base import FaceSample, Reader, ReaderInfo
from facezoo.errors import unknown_name

# name -> (module, class); each class is built with the dataset's folder.
READERS = MappingProxyType(
    {
        "300w-lp": ("facezoo.data.readers.w300lp", "W300LpReader"),
        "aflw": ("facezoo.data.readers.aflw21", "AflwReader"),
        "aflw2000": ("facezoo.data.readers.aflw2000_full", "Aflw2000FullReader"),
        "aflw2000_9": ("facezoo.data.readers.aflw2000", "Aflw2000Reader"),
        "celeba": ("facezoo.data.readers.labelled", "CelebAReader"),
        "dlib_18": ("facezoo.data.readers.dlib", "DlibReader"),
        "vggface2": ("facezoo.data.readers.labelled", "VggFace2Reader"),
        "voxceleb2": ("facezoo.data.readers.labelled", "VoxCeleb2Reader"),
    }
)

__all__ = ["READERS", "FaceSample", "Reader", "ReaderInfo", "open_reader"]


def open_reader(name: str, root: str | Path) -> Reader:
    """Open a dataset.

    Args:
        name: key of ``READERS``.
        root: its folder, or a folder that holds it under its name.

    Raises:
        UnknownNameError: no such dataset.
        AssetError: the folder does not hold it.
    """
    if name not in READERS:
        raise unknown_name("dataset", name, READERS)
    module, class_name = READERS[name]
    root = Path(root).expanduser()
    folder = root / name if (root / name).is_dir() else root
    reader: Reader = getattr(importlib.import_module(module), class_name)(folder)
    return reader
