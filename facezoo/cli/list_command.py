"""``facezoo list``: the catalogue as a table, without torch."""

from __future__ import annotations

import argparse
import json
import sys

from facezoo import catalog


def run(args: argparse.Namespace) -> int:
    """Print every model that matches, one a line."""
    names = catalog.list_models(
        args.pattern,
        task=args.task,
        licence=args.licence,
        head=args.head,
        commercial=True if args.commercial else None,
    )
    found = [catalog.info(name) for name in names]
    if args.json:
        print(json.dumps([entry.id for entry in found], indent=1))
        return 0
    if not found:
        print("facezoo: no model matches; `facezoo list` alone shows all", file=sys.stderr)
        return 0
    width = max(len(entry.id) for entry in found)
    for entry in found:
        where = "in the wheel" if entry.weights.embedded else "download"
        size = f"{entry.weights.size / 1e6:5.1f} MB"
        print(
            f"{entry.id:<{width}}  {where}  {size}  {entry.weights.licences.weights}  {entry.model.summary}"
        )
    return 0
