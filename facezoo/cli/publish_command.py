"""``facezoo publish``: a training run on the Hub, with its card, in one commit."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from facezoo.errors import InputError
from facezoo.hub.publish import Publication, publish


def run(args: argparse.Namespace) -> int:
    """Publish, or with ``--dry-run`` show what would be."""
    done = publish(
        args.run,
        args.repo,
        revision=args.revision,
        private=args.private,
        dry_run=args.dry_run,
        new_card=args.card,
        licences=_licences(args.licence),
        base_model=args.base_model,
    )
    for warning in done.warnings:
        print(f"facezoo: warning: {warning}", file=sys.stderr)
    if args.json:
        print(json.dumps({**asdict(done), "card": str(done.card)}, indent=1))
    else:
        _print(done, args.private)
    return 0


def _print(done: Publication, private: bool) -> None:
    print(f"{done.repo} ({'private, ' if private else ''}branch {done.revision}) on {done.endpoint}")
    for file in done.files:
        print(f"  {file.name:<20}{file.size:>12,} bytes  sha256 {file.sha256}")
    print(f"  card: {done.card}{' (written now)' if done.card_written else ''}")
    if done.commit is None:
        print("dry run: nothing was sent")
    else:
        print(f"commit {done.commit}")
        print(f'facezoo.load("{done.repo}", revision="{done.commit}")')


def _licences(given: list[str]) -> dict[str, str]:
    licences = {}
    for item in given:
        part, equals, licence = item.partition("=")
        if not equals or not licence:
            raise InputError(f"--licence {item!r} is not of the form PART=SPDX, e.g. weights=CC0-1.0.")
        licences[part] = licence
    return licences
