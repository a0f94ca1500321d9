"""Whole files or none: write next to the target, then rename over it."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from facezoo.errors import InputError


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write ``value`` as indented JSON, whole or not at all; see :func:`write_bytes`."""
    return write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def write_bytes(path: str | os.PathLike, data: bytes) -> Path:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one, never half of one.

    The folder is created if need be. The temporary file lies in the same folder, where renaming is atomic.

    Raises:
        InputError: the folder or file cannot be written (names the path and the system's reason).
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name[:64]}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    return target
