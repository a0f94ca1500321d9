"""Where weights come from and under which terms: parents by id and digest, licences as strict as the strictest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from facezoo.catalog import CATALOG, Licences
from facezoo.data.datamodule import FaceDataModule
from facezoo.data.sources import SyntheticStream
from facezoo.heads.registry import DEFAULT_HEAD
from facezoo.hub import Checkpoint, sha256_of
from facezoo.models.base import WEIGHTS_FILE, read_config

PARTS = tuple(f.name for f in fields(Licences))
CODE = "Apache-2.0"
SYNTHETIC = "CC0-1.0"  # people rendered from the open head
# From the one that asks nothing to the one that asks most; each of them allows commercial use and changes.
FREE = ("CC0-1.0", "MIT", "Apache-2.0", "CC-BY-4.0")


def strictest(terms: Iterable[str | None]) -> str | None:
    """Return the terms under which something made of several sources may be used.

    Free licences give way to the one that asks most. Every licence that is not free stays, joined by ``AND`` as SPDX
    expressions are, so that no restriction is lost on the way. If nothing restricts and the terms of a source are not
    known, those of the result are not known either.

    Args:
        terms: SPDX ids or words; None or ``""`` where nobody stated any.

    Returns:
        SPDX id, expression or words; None when unknown.
    """
    given = list(dict.fromkeys(part for term in terms for part in (term or "").split(" AND ")))
    restricting = [term for term in given if term and term not in FREE]
    if restricting:
        return " AND ".join(restricting)
    if not given or "" in given:
        return None
    return max(given, key=FREE.index)


def combine(sources: Iterable[dict[str, str | None]]) -> dict[str, str | None]:
    """Return the strictest terms of each part (code, weights, head, data) over all sources."""
    listed = list(sources)
    return {part: strictest(source.get(part) for source in listed) for part in PARTS}


def own_licences(head: str | None, data: str | None) -> dict[str, str | None]:
    """Return the terms of weights trained by this code on a head and data, parents not counted."""
    return {"code": CODE, "weights": data, "head": head, "data": data}


def describe_parent(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what is recorded about the weights a training starts from.

    Returns:
        ``id`` (zoo name or ``user/repo@commit``) or ``path`` (a folder), ``sha256`` of the weights, ``licences``.
        Weights of the catalogue are known by their digest wherever they lie.
    """
    digest = checkpoint.sha256.get(WEIGHTS_FILE) or sha256_of(checkpoint.folder / WEIGHTS_FILE)
    name, licences = checkpoint.id, checkpoint.licences
    stated = read_config(checkpoint.folder).get("licences")  # perhaps for some parts only
    stated = stated if isinstance(stated, dict) else {}
    for entry in CATALOG.entries():
        if entry.weights.sha256.get(WEIGHTS_FILE) == digest:
            name, licences = entry.id, entry.weights.licences
    is_folder = Path(name).expanduser() == checkpoint.folder
    who = {"path": _as_path(name)} if is_folder else {"id": name}
    terms = asdict(licences) if licences else {part: stated.get(part) or None for part in PARTS}
    return {**who, "sha256": digest, "licences": terms}


def ancestry(parent: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Return the ``lineage`` section of config.json for weights trained from a parent.

    Args:
        parent: of :func:`describe_parent`.
        info: the parent's own description, whose lineage comes before it.

    Returns:
        ``base_model``, the parent's id or path, and ``parents``, all that is known from the oldest to the parent.
    """
    older = info.get("lineage")
    older = older.get("parents", []) if isinstance(older, dict) else []
    return {"base_model": parent.get("id") or parent["path"], "parents": [*older, parent]}


def _as_path(folder: str) -> str:
    """Mark a relative folder as one: ``runs/a`` alone would read like a repo's name."""
    return (
        folder if Path(folder).expanduser().is_absolute() or folder.startswith((".", "~")) else f"./{folder}"
    )


def data_licence(data: FaceDataModule) -> str | None:
    """Return the terms of the training data, None when nobody stated them."""
    return strictest(_terms(data.train))


def _terms(source: Any) -> list[str | None]:
    """List the terms of a source and of the sources it is made of."""
    inner = [s for s in (getattr(source, "source", None), *getattr(source, "sources", ())) if s is not None]
    if inner:
        return [term for one in inner for term in _terms(one)]
    if isinstance(source, SyntheticStream):
        return [SYNTHETIC]
    meta = getattr(getattr(source, "folder", None), "meta", {})
    rendered = SYNTHETIC if meta.get("head_id") == DEFAULT_HEAD and "synth_version" in meta else None
    return [getattr(source, "licence", None) or meta.get("licence") or rendered]
