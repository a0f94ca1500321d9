"""``facezoo info``: everything the catalogue knows about one model."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from facezoo import catalog


def run(args: argparse.Namespace) -> int:
    """Print the entry of a model."""
    entry = catalog.info(args.model)
    weights, licences = entry.weights, entry.weights.licences
    if args.json:
        values = {
            "id": entry.id,
            "summary": entry.model.summary,
            "paper": entry.model.paper,
            "head": weights.head,
            "trained_on": weights.trained_on,
            "licences": asdict(licences),
            "commercial": licences.commercial,
            "embedded": weights.embedded,
            "sha256": dict(weights.sha256),
            "metrics": dict(weights.metrics),
            "folder": str(entry.folder),
        }
        print(json.dumps(values, indent=1))
        return 0
    rows = [
        ("what", entry.model.summary),
        ("paper", entry.model.paper),
        ("head", weights.head),
        ("trained on", weights.trained_on),
        (
            "licences",
            f"code {licences.code}, weights {licences.weights}, head {licences.head}, data {licences.data}",
        ),
        ("commercial use", "yes" if licences.commercial else "no"),
        ("files", str(entry.folder)),
        *((name, f"{value:g}") for name, value in weights.metrics.items()),
    ]
    print(entry.id)
    for name, value in rows:
        print(f"  {name:<16}{value}")
    return 0
