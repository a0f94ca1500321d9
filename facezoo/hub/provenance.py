"""Licences and lineage of an export: stated by the training or by a person, never assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from facezoo.catalog import Licences, licences_from
from facezoo.errors import AssetError
from facezoo.hub.exported import CONFIG, Export


@dataclass(frozen=True)
class Provenance:
    """What a run or a person has to have stated before anything is published.

    Attributes:
        licences: of code, weights, head and data.
        base_model: what the training started from; None for random weights.
        parents: all that is known of what came before, the oldest first.
    """

    licences: Licences
    base_model: str | None
    parents: tuple[Mapping[str, Any], ...]


def provenance(export: Export) -> Provenance:
    """Return the stated licences and lineage.

    Raises:
        AssetError: one is missing; the message says what to add.
    """
    stated, path = export.config.get("licences"), export.folder / CONFIG
    licences = licences_from(stated)
    if licences is None:
        known = stated if isinstance(stated, dict) else {}
        missing = [part.name for part in fields(Licences) if not known.get(part.name)]
        raise AssetError(
            f"{path} does not state the licence of its {', '.join(missing)}, which nothing but you can know. Give SPDX "
            f"ids once, {' '.join(f'--licence {part}=...' for part in missing)}, or add them to its 'licences'."
        )
    lineage = export.config.get("lineage")
    if not isinstance(lineage, dict) or "base_model" not in lineage:
        raise AssetError(
            f"{path} does not state its lineage. Say once what the training started from, --base-model NAME, or "
            "--base-model none for random weights; or add a 'base_model' to its 'lineage'."
        )
    base = lineage["base_model"]
    parents = tuple(parent for parent in lineage.get("parents") or () if isinstance(parent, dict))
    return Provenance(licences, None if base in (None, "", "none", "scratch") else str(base), parents)
