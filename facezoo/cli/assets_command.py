"""``facezoo assets``: licensed heads on this machine."""

from __future__ import annotations

import argparse

from facezoo.heads.assets import add_flame, list_assets
from facezoo.heads.ict import add_ict


def run(args: argparse.Namespace) -> int:
    """Add an asset, or list them."""
    if args.action == "add":
        print(add_ict(args.path) if args.kind == "ict" else add_flame(args.path))
    else:
        for asset in list_assets():
            print(asset)
    return 0
