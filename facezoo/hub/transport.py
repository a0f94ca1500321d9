"""HTTP to the Hub through huggingface_hub's own session, so that proxies, certificates and offline mode are its.

Only two requests are needed, and both are small: what is this file, and give me its bytes from here on.
huggingface_hub's own download throws away a partial file when a process dies, and hands over bytes in pieces of
10 MB, so that a checkpoint of this zoo would never resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from facezoo import __version__
from facezoo.errors import HubError
from facezoo.hub.environment import timeout

_PIECE = 1 << 16
_MAX_HOPS = 5


@dataclass(frozen=True)
class Remote:
    """What the Hub says about one file.

    Attributes:
        commit: the commit that was asked for, resolved.
        digest: SHA-256 of a large file, git's SHA-1 of a small one.
        size: bytes, None if the server does not say.
    """

    commit: str
    digest: str
    size: int | None


def file_url(endpoint: str, repo: str, revision: str, name: str) -> str:
    """Return the address of a file at a branch, tag or commit."""
    return f"{endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(name)}"


def headers(token: str | bool | None) -> dict[str, str]:
    """Build request headers.

    Args:
        token: a token, ``False`` for none, None or ``True`` for the one in HF_TOKEN or stored by ``hf auth login``.
    """
    from huggingface_hub import get_token

    found = token if isinstance(token, str) else None if token is False else get_token()
    sent = {"user-agent": f"facezoo/{__version__}", "Accept-Encoding": "identity"}
    return {**sent, "authorization": f"Bearer {found}"} if found else sent


def ask(url: str, sent: dict[str, str]) -> Remote:
    """Ask what a file is (HEAD), following redirects inside the Hub but not to its storage.

    Raises:
        HubError: the answer is not that of a Hub.
        Exception: of huggingface_hub or of its HTTP library; see :mod:`facezoo.hub.failures`.
    """
    origin = url
    for _ in range(_MAX_HOPS):
        with _open("HEAD", url, sent, "HF_HUB_ETAG_TIMEOUT", follow=False) as response:
            found = response.headers
        onward = urljoin(url, found.get("location") or url)
        # A renamed repo is a redirect on the same host; storage is another host, and the answer is already here.
        if onward == url or _host(onward) != _host(url) or found.get("x-linked-etag"):
            break
        url = onward
    commit, etag = found.get("x-repo-commit", ""), found.get("x-linked-etag") or found.get("etag") or ""
    size = found.get("x-linked-size") or ("" if found.get("location") else found.get("content-length")) or ""
    digest = etag.removeprefix("W/").strip('"')
    if not digest.isalnum() or not commit.isalnum():
        raise HubError(
            f"{origin} was not answered by a Hub: its headers lack a commit or an ETag. Check HF_ENDPOINT, and whether "
            "a proxy or a login page answers in its place."
        )
    return Remote(commit, digest, int(size) if size.isdigit() else None)


@contextmanager
def read(url: str, sent: dict[str, str], start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open a file's bytes from ``start`` on.

    Yields:
        Where the bytes that come really start (0 if the server does not know ranges), and the bytes in pieces.
    """
    ranged = {**sent, "Range": f"bytes={start}-"} if start else sent
    with _open("GET", url, ranged, "HF_HUB_DOWNLOAD_TIMEOUT", follow=True) as response:
        pieces = response.iter_raw() if hasattr(response, "iter_raw") else response.iter_content(_PIECE)
        yield (start if response.status_code == 206 else 0), pieces


@contextmanager
def _open(method: str, url: str, sent: dict[str, str], patience: str, follow: bool) -> Iterator[Any]:
    from huggingface_hub.utils import get_session, hf_raise_for_status

    session: Any = get_session()
    seconds = timeout(patience)
    if callable(getattr(session, "stream", None)):  # httpx, since huggingface_hub 1
        with session.stream(method, url, headers=sent, timeout=seconds, follow_redirects=follow) as response:
            hf_raise_for_status(response)
            yield response
        return
    with session.request(
        method, url, headers=sent, timeout=seconds, allow_redirects=follow, stream=True
    ) as response:
        hf_raise_for_status(response)
        yield response


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
