"""Check files against the digests that the catalogue or the Hub pins."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from facezoo.errors import AssetError

REINSTALL = "`pip install --force-reinstall --no-deps facezoo`"


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_files(folder: Path, digests: Mapping[str, str], owner: str, mend: str = REINSTALL) -> None:
    """Compare the files of a checkpoint with their pinned digests.

    Args:
        folder: where the files lie.
        digests: file name -> SHA-256.
        owner: id of the checkpoint, for the message.
        mend: what brings the right bytes back, for the message.

    Raises:
        AssetError: a file is missing or has other bytes; the message names the file and both digests.
    """
    for name, expected in digests.items():
        path = folder / name
        if not path.is_file():
            raise AssetError(f"{owner}: {path} is missing. The files are incomplete; mend them with {mend}.")
        found = sha256_of(path)
        if found != expected:
            raise AssetError(
                f"{owner}: {path} is damaged or was changed: its sha256 is {found}, pinned is {expected}. "
                f"Mend it with {mend}, or load changed weights from a folder of their own: "
                "facezoo.load('path/to/folder')."
            )
