"""What facezoo can load: one frozen table, readable without torch.

A model id is kebab-case (``dense-1609``); a weight tag follows after one dot (``dense-1609.open-v2``). A published tag
never changes its bytes: new weights get a new tag. An id without a tag means the first tag in the table, always.
A name that was given up stays in ``deprecated`` and forwards to its successor with a warning.
"""

from __future__ import annotations

from facezoo.catalog.rows import DEPRECATED, MODELS
from facezoo.catalog.specs import (
    TASKS,
    Catalog,
    Entry,
    Licences,
    Measurement,
    ModelSpec,
    WeightSpec,
    licences_from,
)

__all__ = [
    "CATALOG",
    "TASKS",
    "Catalog",
    "Entry",
    "Licences",
    "Measurement",
    "ModelSpec",
    "WeightSpec",
    "entries",
    "info",
    "licences_from",
    "list_models",
]

CATALOG = Catalog(MODELS, DEPRECATED)


def entries() -> list[Entry]:
    """Return every model with every of its weights, in catalogue order."""
    return CATALOG.entries()


def list_models(
    pattern: str = "*",
    *,
    task: str | None = None,
    licence: str | None = None,
    head: str | None = None,
    commercial: bool | None = None,
) -> list[str]:
    """List full ids, optionally filtered.

    Args:
        pattern: shell wildcard over full ids and bare names, e.g. ``"dense-*"``.
        task: only models for this; one of ``facezoo.catalog.TASKS``.
        licence: only weights under this licence, an SPDX id; wildcards and any case are understood (``"cc-by-*"``).
        head: only weights for this head id.
        commercial: only (True) or no (False) weights whose code, weights, head and data may all be used commercially.

    Raises:
        UnknownNameError: no such task; the message names the nearest.
    """
    return CATALOG.list_models(pattern, task=task, licence=licence, head=head, commercial=commercial)


def info(name: str) -> Entry:
    """Return the catalogue entry of ``name`` or ``name.tag``.

    It says where the weights are and how large, four licences, measured numbers with the commands that made them,
    and the paper. A deprecated name is answered with its successor and a ``FutureWarning`` that names it.

    Raises:
        UnknownNameError: no such model or tag; the message names the nearest.
        AssetError: the model has no published weights.
    """
    return CATALOG.info(name)
