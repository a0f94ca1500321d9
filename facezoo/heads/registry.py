"""From the name of a head to the head: the packaged one, the user's cache, or a file."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from facezoo.errors import AssetError, InputError, unknown_name
from facezoo.heads.file import read_head
from facezoo.heads.model import HeadModel

DEFAULT_HEAD = "open-v1"
PACKAGED_HEADS = {DEFAULT_HEAD: Path(__file__).parent / "data" / f"{DEFAULT_HEAD}.safetensors.gz"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SUFFIX = ".safetensors"


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache: ``cache_dir``, else $FACEZOO_CACHE, else ~/.cache/facezoo."""
    root = cache_dir or os.environ.get("FACEZOO_CACHE") or Path.home() / ".cache" / "facezoo"
    return Path(root).expanduser()


def heads_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of converted heads in the cache."""
    return cache_folder(cache_dir) / "heads"


def head_path(name: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return where the head ``name`` is kept, whether or not it is there.

    Raises:
        InputError: not a head name (lower case letters, digits, ``.``, ``_``, ``-``).
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no head name: use lower case letters, digits, '.', '_' and '-'.")
    return PACKAGED_HEADS.get(name) or heads_folder(cache_dir) / f"{name}{_SUFFIX}"


def installed_heads(cache_dir: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Return name -> file of every head that can be loaded by name."""
    folder = heads_folder(cache_dir)
    found = {p.name.removesuffix(_SUFFIX): p for p in sorted(folder.glob(f"*{_SUFFIX}"))}
    return {n: p for n, p in {**found, **PACKAGED_HEADS}.items() if _NAME.fullmatch(n) and p.is_file()}


def load_head(name_or_path: str | os.PathLike[str] = DEFAULT_HEAD) -> HeadModel:
    """Load a head by name or from a head file.

    A name is read once a process; each call returns a head of its own that shares the arrays.

    Args:
        name_or_path: "open-v1", the name of a converted head ("flame2020"), or the path of a head file.

    Raises:
        AssetError: the file or the licensed head is missing or damaged.
        UnknownNameError: no head has this name.
    """
    text = os.fspath(name_or_path)
    if not isinstance(name_or_path, str) or "/" in text or os.sep in text or text.endswith((_SUFFIX, ".gz")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise AssetError(
                f"no head file {path}; give a file that facezoo wrote, or a name: {DEFAULT_HEAD!r}."
            )
        return HeadModel(*read_head(path))
    if not _NAME.fullmatch(text):
        raise unknown_name("head", text, installed_heads())
    path = head_path(text)
    if not path.is_file():
        raise _missing(text, path)
    return _prototype(path, path.stat().st_mtime_ns).shared_copy()


@functools.lru_cache(maxsize=4)
def _prototype(path: Path, modified: int) -> HeadModel:
    """Read a head once; ``modified`` is part of the key so that a head added again is read again."""
    return HeadModel(*read_head(path))


def _missing(name: str, path: Path) -> Exception:
    if name in PACKAGED_HEADS:
        return AssetError(
            f"the packaged head {path} is missing: reinstall facezoo, or in a source checkout build it with "
            "`python -m facezoo.heads.open`."
        )
    if name.startswith("flame"):
        return AssetError(
            f"head {name!r} is not installed (looked for {path}). FLAME has a licence of its own: download "
            "it from "
            "https://flame.is.tue.mpg.de, then run `facezoo assets add flame PATH` with the downloaded "
            "pickle or folder."
        )
    return unknown_name(
        "head", name, installed_heads(), "A FLAME head is added by `facezoo assets add flame PATH`."
    )
