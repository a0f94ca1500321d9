"""What the text given to ``facezoo.load`` stands for: a folder, a catalogue name or a repo on the Hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from facezoo.catalog import Catalog
from facezoo.errors import InputError

SCHEME = "facezoo://"
FILES = ("config.json", "model.safetensors")
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,200}")


@dataclass(frozen=True)
class CatalogName:
    """A name, with or without its tag, that the catalogue answers for."""

    name: str


@dataclass(frozen=True)
class RepoName:
    """A repo ``user/name``, with what followed an ``@``."""

    id: str
    revision: str | None = None


def read_name(given: str | Path, table: Catalog) -> Path | CatalogName | RepoName:
    """Decide what ``given`` is, by its form and by what lies on this disk; nothing is asked of the network.

    A ``Path``, or text that begins like one (``/``, ``./``, ``../``, ``~``) is a folder. ``facezoo://`` marks a name
    that is never a folder. Otherwise a checkpoint folder that exists wins, then the catalogue, then ``user/name`` with
    an optional ``@revision``; a folder that exists without a checkpoint in it is still a folder, so that its name is
    never sent anywhere. Everything else is a catalogue name (without a slash) or a path (with one).

    Raises:
        InputError: nothing follows ``facezoo://``, or what follows is neither kind of name.
    """
    if isinstance(given, Path):
        return given.expanduser()
    if given.startswith(SCHEME):
        name = _marked(given.removeprefix(SCHEME).strip("/"))
        if name is None:
            raise InputError(
                f"{given!r} is no name: expected facezoo://NAME that `facezoo list` shows, or facezoo://user/repo."
            )
        return name
    if not given:
        return CatalogName(given)
    path = Path(given).expanduser()
    if given in (".", "..") or given.startswith(("./", "../", "~")) or "\\" in given or os.path.isabs(given):
        return path
    if any((path / name).is_file() for name in FILES):
        return path
    if "/" not in given:
        return CatalogName(given) if table.knows(given) or not path.is_dir() else path
    repo = repo_name(given)
    return repo if repo is not None and not path.is_dir() else path


def _marked(text: str) -> CatalogName | RepoName | None:
    if "/" in text:
        return repo_name(text)
    return CatalogName(text) if text else None


def repo_name(text: str) -> RepoName | None:
    """Read ``user/name`` or ``user/name@revision``; None if it is neither."""
    name, at, revision = text.partition("@")
    if not _REPO.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
        return None
    if not at:
        return RepoName(name)
    return RepoName(name, revision) if good_revision(revision) else None


def good_revision(text: str) -> bool:
    """Return whether ``text`` may be a branch, a tag or a commit: it also becomes a file name in the cache."""
    return (
        bool(_REVISION.fullmatch(text)) and ".." not in text and "//" not in text and not text.endswith("/")
    )
