"""The cache folder of the Hub, in the layout that huggingface_hub documents and shares with other programs.

    models--user--name/blobs/<digest>              the bytes, once
    models--user--name/snapshots/<commit>/<file>   a link to them
    models--user--name/refs/<branch or tag>        the commit it was last seen at

Reading it needs neither the network nor huggingface_hub. Every file appears whole, by renaming.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facezoo.hub.names import FILES

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_commit(revision: str) -> bool:
    """Return whether a revision is a full commit hash: what it names can never change."""
    return _COMMIT.fullmatch(revision) is not None


def is_sha256(digest: str) -> bool:
    """Return whether a digest is a SHA-256, which is what the Hub calls large files by."""
    return _SHA256.fullmatch(digest) is not None


@dataclass(frozen=True)
class RepoCache:
    """One repo in the cache.

    Attributes:
        cache: the folder of all repos.
        repo: ``user/name``.
    """

    cache: Path
    repo: str

    @property
    def folder(self) -> Path:
        """Where the repo's files are."""
        return self.cache / f"models--{self.repo.replace('/', '--')}"

    @property
    def lock(self) -> Path:
        """The file that one download at a time holds."""
        return self.cache / ".locks" / self.folder.name / "facezoo.lock"

    def commit_of(self, revision: str) -> str | None:
        """Return the commit that a branch or tag was last seen at, or a commit itself; None if never seen."""
        if is_commit(revision):
            return revision
        try:
            text = (self.folder / "refs" / revision).read_text(encoding="utf-8").strip()
        except OSError:
            return None
        return text if is_commit(text) else None

    def snapshot(self, commit: str) -> Path | None:
        """Return the folder of a commit if the checkpoint's files are all there."""
        folder = self.folder / "snapshots" / commit
        return folder if all((folder / name).is_file() for name in FILES) else None

    def digests(self, commit: str) -> dict[str, str]:
        """Return file -> SHA-256 for the files of a commit whose digest the Hub vouched for."""
        folder = self.folder / "snapshots" / commit
        found = {name: (folder / name).resolve().name for name in FILES if (folder / name).is_symlink()}
        return {name: digest for name, digest in found.items() if is_sha256(digest)}

    def blob(self, digest: str) -> Path:
        """Return where the bytes with this digest are, or will be."""
        return self.folder / "blobs" / digest

    def link(self, commit: str, name: str, digest: str) -> None:
        """Let a file of a commit be the blob with this digest; a copy where links are not possible."""

        def make(path: Path) -> None:
            try:
                os.symlink(os.path.join("..", "..", "blobs", digest), path)
            except OSError:  # Windows without the privilege, or a file system without links
                shutil.copyfile(self.blob(digest), path)

        appear(self.folder / "snapshots" / commit / name, make)

    def remember(self, revision: str, commit: str) -> None:
        """Store which commit a branch or tag stands for."""
        if self.commit_of(revision) != commit:
            appear(self.folder / "refs" / revision, lambda path: path.write_text(commit, encoding="utf-8"))


def appear(target: Path, make: Callable[[Path], object]) -> None:
    """Make a file or a link beside its place and rename it, so that readers see the old one or the new one.

    ``mesh.io.atomic`` writes bytes the same way, but cannot make links, and its package needs torch, which neither
    downloading nor publishing does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        make(temporary)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
