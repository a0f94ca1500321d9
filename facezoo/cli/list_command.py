"""``facezoo list``: the catalogue as a table, without torch."""

from __future__ import annotations

import argparse
import json
import sys

from facezoo import catalog


def run(args: argparse.Namespace) -> int:
    """Print every model that matches, one a line."""
    found = [catalog.info(name) for name in catalog.list_models(args.pattern)]
    if args.json:
        print(json.dumps([entry.id for entry in found], indent=1))
        return 0
    if not found:
        print(f"facezoo: no model matches {args.pattern!r}", file=sys.stderr)
        return 0
    width = max(len(entry.id) for entry in found)
    for entry in found:
        where = "in the wheel" if entry.weights.embedded else "download"
        print(f"{entry.id:<{width}}  {where}  {entry.weights.licences.weights}  {entry.model.summary}")
    return 0
