"""``facezoo info``: everything the catalogue knows about one model."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from facezoo import catalog


def run(args: argparse.Namespace) -> int:
    """Print the entry of a model."""
    entry = catalog.info(args.model)
    print(json.dumps(_values(entry), indent=1) if args.json else _text(entry))
    return 0


def _values(entry: catalog.Entry) -> dict:
    weights, licences = entry.weights, entry.weights.licences
    return {
        "id": entry.id,
        "summary": entry.model.summary,
        "tasks": list(entry.model.tasks),
        "paper": entry.model.paper,
        "head": weights.head,
        "trained_on": weights.trained_on,
        "licences": asdict(licences),
        "commercial": licences.commercial,
        "embedded": weights.embedded,
        "size": weights.size,
        "sha256": dict(weights.sha256),
        "metrics": [asdict(measured) for measured in weights.metrics],
        "folder": str(entry.folder) if weights.embedded else None,
        "repo": weights.repo or None,
        "revision": weights.revision or None,
    }


def _text(entry: catalog.Entry) -> str:
    weights, licences = entry.weights, entry.weights.licences
    rows = [
        ("what", entry.model.summary),
        ("for", ", ".join(entry.model.tasks)),
        ("paper", entry.model.paper),
        ("head", weights.head),
        ("trained on", weights.trained_on),
        (
            "licences",
            f"code {licences.code}, weights {licences.weights}, head {licences.head}, data {licences.data}",
        ),
        ("commercial use", "yes" if licences.commercial else "no"),
        ("size", f"{weights.size / 1e6:.1f} MB"),
        ("files", str(entry.folder) if weights.embedded else f"{weights.repo}@{weights.revision} on the Hub"),
    ]
    lines = [entry.id, *(f"  {name:<16}{value}" for name, value in rows)]
    for measured in weights.metrics:
        lines += [
            f"  {measured.metric:<16}{measured.value:g} on {measured.data}",
            f"  {'':<16}{measured.command}",
        ]
    return "\n".join(lines)
