"""The Hub's environment variables, read whenever they are needed.

huggingface_hub reads them once, when it is imported; here a variable works whenever it is set.
"""

from __future__ import annotations

import os
from pathlib import Path

PUBLIC_HUB = "https://huggingface.co"
_TRUE = {"1", "on", "yes", "true"}


def endpoint() -> str:
    """Return the Hub's address: ``HF_ENDPOINT``, else the public Hub."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or PUBLIC_HUB


def offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE`` (or ``TRANSFORMERS_OFFLINE``) forbids the network."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.strip().lower() in _TRUE


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache that all programs using the Hub share.

    Args:
        given: wins over ``HF_HUB_CACHE``, ``HUGGINGFACE_HUB_CACHE``, ``HF_HOME`` and ``XDG_CACHE_HOME``.
    """
    environ = os.environ
    home = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    folder = (
        given
        or environ.get("HF_HUB_CACHE")
        or environ.get("HUGGINGFACE_HUB_CACHE")
        or Path(environ.get("HF_HOME") or home) / "hub"
    )
    return Path(os.path.expandvars(folder)).expanduser().absolute()


def timeout(variable: str) -> float:
    """Return ``HF_HUB_ETAG_TIMEOUT`` or ``HF_HUB_DOWNLOAD_TIMEOUT`` in seconds; 10 if it is not a positive number."""
    try:
        seconds = float(os.environ.get(variable) or 10)
    except ValueError:
        return 10.0
    return seconds if seconds > 0 else 10.0
