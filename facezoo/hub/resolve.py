"""Turn a name, a repo or a path into a checkpoint folder on this machine.

In this order: a path, what travels in the wheel, the cache at a pinned commit (no network call at all), the Hub, and
an error that lists the ways without a network. A name never silently turns into other weights.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from facezoo import catalog
from facezoo.catalog import CATALOG, Catalog, Entry, Licences, ModelSpec
from facezoo.errors import AssetError, HubError, InputError
from facezoo.hub.cache import RepoCache, is_commit
from facezoo.hub.environment import cache_folder, offline
from facezoo.hub.failures import Unreachable
from facezoo.hub.names import FILES, RepoName, good_revision, read_name
from facezoo.hub.verify import REINSTALL, sha256_of, verify_files

CONFIG_NAME, WEIGHTS_NAME = FILES
Source = Literal["folder", "embedded", "cache", "hub"]


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json`` and ``model.safetensors``.

    Attributes:
        id: what loads these very weights again: the catalogue's full id, the folder as given, or ``user/repo@commit``.
        folder: where the two files lie.
        model: the catalogue's model that can read them.
        sha256: digests that the catalogue or the Hub vouches for; empty for a user's own folder.
        source: where it was found; ``"cache"`` came without any network call.
        revision: commit hash in the repo, if it comes from one.
        licences: of code, weights, head and data; None if nobody has stated all four.
    """

    id: str
    folder: Path
    model: ModelSpec
    sha256: Mapping[str, str] = field(default_factory=dict)
    source: Source = "folder"
    revision: str | None = None
    licences: Licences | None = None

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights as they lie on disk: signs a measurement, so that no card shows it for others."""
        return sha256_of(self.folder / WEIGHTS_NAME)

    def verify(self) -> None:
        """Check every pinned file.

        Raises:
            AssetError: naming the file that is missing or damaged.
        """
        # snapshots/<commit> lies two folders below the repo's own
        repo = self.folder.parent.parent
        mend = REINSTALL if self.revision is None else f"`rm -r {repo}`, which lets it be downloaded again"
        verify_files(self.folder, self.sha256, self.id, mend)


def resolve(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    table: Catalog = CATALOG,
) -> Checkpoint:
    """Find a checkpoint by folder, by catalogue id or by a repo's name on the Hub.

    Args:
        name_or_path: see :func:`facezoo.hub.names.read_name`: a folder, ``dense-1609``, ``dense-1609.open-v2``,
            ``user/repo``, ``user/repo@revision``, and names with ``facezoo://`` before them.
        revision: branch, tag or full commit hash of a repo; ``main`` if nothing is given. Only a commit hash is a pin:
            it is served from the cache without asking. For a branch or a tag the Hub is asked where it points to now;
            if the Hub cannot be reached, the commit it was last seen at is used, and a warning says so.
        cache_dir: instead of the cache that ``HF_HUB_CACHE`` or ``HF_HOME`` name.
        token: for private repos, instead of ``HF_TOKEN``; ``False`` sends none.
        table: the catalogue to look names up in.

    Raises:
        UnknownNameError: no such name; the message has the nearest.
        HubError: neither the cache nor the Hub has it; the message lists the ways without a network.
        AssetError: the folder is missing or not a checkpoint.
        InputError: ``revision`` was given for what has none, or is none.
    """
    source = read_name(name_or_path, table)
    if isinstance(source, RepoName):
        if revision is not None and source.revision not in (None, revision):
            raise InputError(
                f"{name_or_path!r} names a revision, and revision={revision!r} another; give one."
            )
        wanted = revision or source.revision or "main"
        if not good_revision(wanted):
            raise InputError(f"revision {wanted!r} is no branch, tag or commit hash.")
        return _from_repo(RepoCache(cache_folder(cache_dir), source.id), wanted, token, table)
    if isinstance(source, Path):
        _refuse(revision, f"the folder {source}", "leave revision out")
        return _from_folder(source, table)
    entry = table.info(source.name)
    _refuse(
        revision,
        entry.id,
        "its tag pins the weights; leave revision out, or load a repo: 'user/repo@revision'",
    )
    return _from_catalogue(entry, cache_dir, token, table)


def _refuse(revision: str | None, owner: str, cure: str) -> None:
    if revision is not None:
        raise InputError(f"{owner} has no revision {revision!r}: {cure}.")


def _from_catalogue(
    entry: Entry, cache_dir: str | Path | None, token: str | bool | None, table: Catalog
) -> Checkpoint:
    weights = entry.weights
    if weights.embedded:
        if not entry.folder.is_dir():
            raise AssetError(
                f"the weights of {entry.id} are not in this installation ({entry.folder} is missing). Reinstall "
                "facezoo, or train them: `python -m facezoo.train recipe=dense`."
            )
        return Checkpoint(
            entry.id, entry.folder, entry.model, weights.sha256, "embedded", licences=weights.licences
        )
    cache = RepoCache(cache_folder(cache_dir), weights.repo)
    found = _from_repo(cache, weights.revision, token, table, entry)
    return Checkpoint(
        entry.id, found.folder, entry.model, weights.sha256, found.source, found.revision, weights.licences
    )


def _from_repo(
    cache: RepoCache, revision: str, token: str | bool | None, table: Catalog, entry: Entry | None = None
) -> Checkpoint:
    source: Source = "cache"
    if is_commit(revision) and cache.snapshot(revision) is not None:
        commit = revision
    else:
        from facezoo.hub.download import fetch

        try:
            commit = fetch(cache, revision, token=token, sha256=entry.weights.sha256 if entry else None)
            source = "hub"
        except Unreachable as error:
            commit = _last_seen(cache, revision, error)
        except HubError as error:
            raise HubError(f"{error}{_also_here(cache, revision)}") from error
    folder = cache.snapshot(commit)
    if folder is None:
        raise HubError(
            f"{cache.repo}@{commit} vanished from {cache.folder} while it was read; load it again."
        )
    config = _read_config(folder)
    return Checkpoint(
        id=f"{cache.repo}@{commit}",
        folder=folder,
        model=entry.model if entry else table.of_method(config["method"], f"{folder / CONFIG_NAME}"),
        sha256=cache.digests(commit),
        source=source,
        revision=commit,
        licences=catalog.licences_from(config.get("licences")),
    )


def _last_seen(cache: RepoCache, revision: str, error: Unreachable) -> str:
    """Return the commit a branch was last seen at if its files are cached; otherwise raise, with the ways out."""
    commit = cache.commit_of(revision)
    if commit is None or cache.snapshot(commit) is None:
        raise HubError(f"{error}, and {cache.cache} does not hold it. {_ways(cache)}") from error
    if not offline():
        warnings.warn(
            f"{error}; using {revision!r} of {cache.repo} as it was when last seen, commit {commit}. "
            f"Load '{cache.repo}@{commit}' to pin it and to skip asking.",
            stacklevel=5,
        )
    return commit


def _ways(cache: RepoCache) -> str:
    return (
        f"Ways without the network: (1) on a machine that has one, `hf download {cache.repo} --local-dir DIR`, copy "
        f"DIR here and facezoo.load('DIR'); (2) copy {cache.folder.name} from that machine's cache into {cache.cache}; "
        "(3) name a mirror in HF_ENDPOINT; (4) load a model that travels in the wheel, "
        f"{', '.join(entry.id for entry in CATALOG.entries() if entry.weights.embedded)}."
    )


def _also_here(cache: RepoCache, revision: str) -> str:
    commit = cache.commit_of(revision)
    if commit is not None and cache.snapshot(commit) is not None:
        return f" A copy is in the cache: '{cache.repo}@{commit}' loads it without the Hub."
    if revision == "main":
        return f" (There is no folder {cache.repo} here either.)"
    return ""


def _from_folder(folder: Path, table: Catalog) -> Checkpoint:
    if not folder.is_dir():
        raise AssetError(
            f"there is no checkpoint folder {folder}; `facezoo list` shows the names that need no folder."
        )
    for name in FILES:
        if not (folder / name).is_file():
            run = folder / "export"
            hint = (
                f"It looks like a training run: load {run}"
                if (run / name).is_file()
                else "model.save_pretrained(folder) writes one"
            )
            raise AssetError(f"{folder} is not a checkpoint: {name} is missing. {hint}.")
    config = _read_config(folder)
    return Checkpoint(
        str(folder),
        folder,
        table.of_method(config["method"], f"{folder / CONFIG_NAME}"),
        licences=catalog.licences_from(config.get("licences")),
    )


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        config["method"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(
            f"{folder / CONFIG_NAME} is not the config of a facezoo checkpoint ({error!r})."
        ) from error
    return dict(config)
