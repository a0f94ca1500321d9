"""Bring one commit of a repo into the cache: whole, proven, resumable, and by one process at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facezoo.errors import FacezooError, HubError
from facezoo.hub.cache import RepoCache, is_commit, is_sha256
from facezoo.hub.environment import endpoint, offline
from facezoo.hub.failures import Unreachable, explain, is_refused, is_transient
from facezoo.hub.names import FILES
from facezoo.hub.transport import Remote, ask, file_url, headers, read
from facezoo.hub.verify import sha256_of

# Nothing else is ever fetched: no pickle, no code.
_CARD = "README.md"
# Seconds between tries that brought nothing; a try that brought bytes costs none.
_PAUSES = (0.5, 1.5)
_BAR_FROM = 1_000_000


def fetch(
    cache: RepoCache,
    revision: str,
    *,
    token: str | bool | None = None,
    sha256: Mapping[str, str] | None = None,
) -> str:
    """Download config.json, model.safetensors and the card of a revision, as far as the cache lacks them.

    Args:
        cache: which repo, and where to.
        revision: branch, tag or full commit hash.
        token: see :func:`facezoo.hub.transport.headers`.
        sha256: file name -> digest that it must have.

    Returns:
        The commit hash; its snapshot is complete.

    Raises:
        Unreachable: the Hub does not answer, or offline mode is set.
        HubError: it refuses, has no such repo or revision, or sends bytes that are not the pinned ones.
    """
    hub, what = endpoint(), cache.repo if revision == "main" else f"{cache.repo}@{revision}"
    if offline():
        raise Unreachable(f"{what} was not asked of {hub} because HF_HUB_OFFLINE is set")
    from huggingface_hub.utils import WeakFileLock

    try:
        sent = headers(token)
        first = _ask_patiently(file_url(hub, cache.repo, revision, FILES[0]), sent)
        commit = first.commit
        if not is_commit(commit) or (is_commit(revision) and commit != revision):
            raise HubError(
                f"{hub} answered with commit {commit!r} for {what}: it is no Hub, or a broken one."
            )
        if cache.snapshot(commit) is None:
            cache.lock.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(cache.lock):
                if cache.snapshot(commit) is None:  # while waiting, another process may have brought it
                    for name in (*FILES, _CARD):
                        known = first if name == FILES[0] else None
                        _bring(cache, commit, name, sent, (sha256 or {}).get(name), known)
        cache.remember(revision, commit)
        return commit
    except FacezooError:
        raise
    except Exception as error:
        raise explain(error, what, hub) from error


def _bring(
    cache: RepoCache, commit: str, name: str, sent: dict[str, str], pin: str | None, known: Remote | None
) -> None:
    """Download one file unless it is there already, prove it, and link it into the snapshot."""
    url = file_url(endpoint(), cache.repo, commit, name)
    try:
        remote = known or _ask_patiently(url, sent)
    except Exception as error:
        if name == _CARD and "EntryNotFoundError" in {cls.__name__ for cls in type(error).__mro__}:
            return
        raise
    if pin is not None and is_sha256(remote.digest) and remote.digest != pin:
        raise _not_pinned(url, remote.digest, pin)
    blob = cache.blob(remote.digest)
    if blob.is_file():
        if problem := _damage(blob, remote):
            blob.unlink()
            raise HubError(
                f"the cached {blob} was damaged on this disk ({problem}) and is now removed; load it again."
            )
        _check_pin(url, blob, pin)
    else:
        part = blob.with_name(f"{blob.name}.part")
        _bring_bytes(url, part, remote, sent, name)
        try:
            _check_pin(url, part, pin)
        except HubError:
            part.unlink()
            raise
        os.replace(part, blob)
    cache.link(commit, name, remote.digest)


def _bring_bytes(url: str, part: Path, remote: Remote, sent: dict[str, str], name: str) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists()
    _download(url, part, remote, sent, name)
    if resumed and _damage(part, remote):
        # what an earlier process left may have been wrong: once more, from the start
        part.unlink()
        _download(url, part, remote, sent, name)
    if problem := _damage(part, remote):
        part.unlink()
        raise HubError(
            f"{url} arrived damaged: {problem}. The bytes were thrown away; load it again, and if that does not help, "
            "a proxy or a mirror (HF_ENDPOINT) in between changes them."
        )


def _check_pin(url: str, path: Path, pin: str | None) -> None:
    if pin is not None and (found := sha256_of(path)) != pin:
        raise _not_pinned(url, found, pin)


def _not_pinned(url: str, found: str, pin: str) -> HubError:
    return HubError(
        f"{url} is not the file that was asked for: the Hub has sha256 {found}, pinned is {pin}. A newer facezoo may "
        "pin what is there now: `pip install --upgrade facezoo`."
    )


def _ask_patiently(url: str, sent: dict[str, str]) -> Remote:
    for pause in (*_PAUSES, None):
        try:
            return ask(url, sent)
        except Exception as error:
            if pause is None or is_refused(error) or _too_slow(error) or not is_transient(error):
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


def _download(url: str, part: Path, remote: Remote, sent: dict[str, str], name: str) -> None:
    """Append to ``part`` until it is whole, however often the connection breaks, as long as every try brings bytes."""
    from huggingface_hub.utils import tqdm

    pauses = iter(_PAUSES)
    large = remote.size is not None and remote.size > _BAR_FROM
    if remote.size is None or _length(part) > remote.size:
        part.unlink(missing_ok=True)  # nobody knows where it ends, or it is no beginning of this file
    with tqdm(
        total=remote.size, unit="B", unit_scale=True, desc=name, disable=None if large else True
    ) as bar:
        while (begin := _length(part)) != remote.size:
            bar.update(begin - bar.n)
            try:
                _append(url, part, begin, sent, bar)
                if remote.size is None or _length(part) >= remote.size:
                    break
                error: Exception = ConnectionError(
                    f"the server stopped after {_length(part)} of {remote.size} bytes"
                )
            except Exception as problem:
                if not is_transient(problem):
                    raise
                error = problem
            if _length(part) <= begin:
                pause = next(pauses, None)
                if pause is None:
                    raise error
                time.sleep(pause)


def _append(url: str, part: Path, begin: int, sent: dict[str, str], bar: Any) -> None:
    with read(url, sent, begin) as (start, pieces), open(part, "ab") as file:
        file.truncate(start)
        bar.update(start - begin)
        for piece in pieces:
            file.write(piece)
            bar.update(len(piece))


def _damage(path: Path, remote: Remote) -> str:
    """Return how a file differs from what the Hub calls it, empty if it does not."""
    size = _length(path)
    if remote.size is not None and size != remote.size:
        return f"{size} bytes instead of {remote.size}"
    if is_sha256(remote.digest):
        found = sha256_of(path)
        return "" if found == remote.digest else f"its sha256 is {found}, expected {remote.digest}"
    if is_commit(remote.digest):  # small files are called by git's hash of them
        data = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return "" if found == remote.digest else f"its git hash is {found}, expected {remote.digest}"
    return ""


def _length(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _too_slow(error: BaseException) -> bool:
    return "Timeout" in type(error).__name__
