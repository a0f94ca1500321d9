"""Train the detector: ``python -m facezoo.detect.open_faces SHARDS --out runs/detector --minutes 15``."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(prog="python -m facezoo.detect.open_faces", description=__doc__)
    parser.add_argument("shards", help="folder that `python -m facezoo.synth shards` wrote")
    parser.add_argument("--out", default="runs/detector")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--people", type=int, default=12_000, help="how many to hold in memory (93 KB each)")
    arguments = parser.parse_args()
    from facezoo.detect.open_faces.train import train

    train(arguments.shards, Path(arguments.out), arguments.minutes, people=arguments.people)


if __name__ == "__main__":
    main()
