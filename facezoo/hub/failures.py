"""Whatever goes wrong between this machine and the Hub, as one error that names the cause and the cure."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from facezoo.errors import FacezooError, HubError
from facezoo.hub.environment import PUBLIC_HUB

# The HTTP library under huggingface_hub has changed twice; all of them name their errors' modules after themselves.
_TRANSPORT = ("httpx", "httpcore", "requests", "urllib3", "http.client", "ssl", "socket")
_RETRY = {408, 500, 502, 503, 504}


class Unreachable(HubError):
    """The Hub did not answer: no network, a time-out, a broken connection, or a server in trouble."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may well succeed when it is made again."""
    status = _status(error)
    if status is not None:
        return status in _RETRY
    return any(_is_network(part) for part in _chain(error))


def is_refused(error: BaseException) -> bool:
    """Return whether nothing listens there or the name does not resolve: asking again at once is no use."""
    return any(
        type(part).__name__ in ("ConnectError", "NewConnectionError", "gaierror") for part in _chain(error)
    )


def explain(error: BaseException, what: str, endpoint: str, doing: str = "read") -> FacezooError:
    """Turn an error of huggingface_hub, of HTTP or of the disk into one for a person.

    Args:
        error: what was raised.
        what: the repo, with its revision if one was given.
        endpoint: the Hub that was asked.
        doing: ``"read"`` or ``"write"``, what the token has to allow.
    """
    if isinstance(error, FacezooError):
        return error
    names = {cls.__name__ for part in _chain(error) for cls in type(part).__mro__}
    status = next((s for s in map(_status, _chain(error)) if s is not None), None)
    login = f"set HF_TOKEN to a token that may {doing} it, or run `hf auth login`"
    if "OfflineModeIsEnabled" in names:
        return Unreachable(f"{what} was not asked of the Hub because HF_HUB_OFFLINE is set")
    if "GatedRepoError" in names:
        return HubError(
            f"{what} is gated: its owner must let you in. Accept its terms at "
            f"{endpoint}/{what.split('@')[0]}, then {login}."
        )
    if "RepositoryNotFoundError" in names or status == 401:
        return HubError(
            f"{what} does not exist on {endpoint}, or it is private and this machine may not {doing} it (HTTP "
            f"{status or 404}). Check the spelling, or {login}."
        )
    if "RevisionNotFoundError" in names:
        return HubError(
            f"{what}: {endpoint} has the repo but no such revision (HTTP 404); give a branch, a tag or a full "
            "commit hash."
        )
    if "EntryNotFoundError" in names or status == 404:
        return HubError(
            f"{what} on {endpoint} is not a facezoo checkpoint: it lacks config.json or model.safetensors (HTTP 404)."
        )
    if status == 403:
        return HubError(f"{endpoint} refuses to {doing} {what} (HTTP 403): {login}.")
    if status == 429:
        return Unreachable(
            f"{endpoint} has had too many requests from here (HTTP 429); wait a minute, or {login}"
        )
    if status is not None and status >= 500:
        return Unreachable(
            f"{endpoint} is in trouble (HTTP {status}) and did not give {what}; try again later"
        )
    if status is not None:
        return HubError(f"{endpoint} answered HTTP {status} when asked to {doing} {what}: {_text(error)}")
    if "LocalTokenNotFoundError" in names:
        return HubError(f"there is no token on this machine: {login}.")
    return _without_answer(error, what, endpoint)


def _without_answer(error: BaseException, what: str, endpoint: str) -> HubError:
    if any("Timeout" in type(part).__name__ or isinstance(part, TimeoutError) for part in _chain(error)):
        return Unreachable(
            f"{endpoint} was too slow with {what}; HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT are the seconds "
            "it is waited for (10), and a download goes on where it stopped"
        )
    if any(_is_network(part) for part in _chain(error)):
        where = "" if endpoint == PUBLIC_HUB else ", which HF_ENDPOINT names,"
        return Unreachable(f"{endpoint}{where} cannot be reached for {what} ({_text(error)})")
    if isinstance(error, OSError):
        full = " The disk is full." if error.errno == errno.ENOSPC else ""
        return HubError(
            f"{what} cannot be stored in the cache ({error.strerror or error}: {error.filename}).{full} Give another "
            "folder as cache_dir= or in HF_HUB_CACHE."
        )
    return HubError(f"{what} cannot be had from {endpoint}: {type(error).__name__}: {_text(error)}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_network(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(cls.__module__.startswith(_TRANSPORT) for cls in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return int(status) if status is not None else None


def _text(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
