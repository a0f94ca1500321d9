"""Render synthetic people to shards or to a contact sheet; reduce their skin to a linear basis.

python -m facezoo.synth shards OUT --count 20000 [--first-seed 0 --workers 2 --size 176]
python -m facezoo.synth shards OUT --relief --pictures 4 --count 12000     people with wrinkles as truth, 4 pictures each
python -m facezoo.synth relief wrinkles.jpg [--ages 25 50 75 --size 512]   faces without and with relief
python -m facezoo.synth sheet people.png [--rows 5 --columns 8 --first-seed 0 --landmarks]
python -m facezoo.synth albedo [PATH]     build the open head's albedo basis
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from facezoo.synth.albedo_basis import build_albedo
from facezoo.synth.layout import stage
from facezoo.synth.portrait import people_aged, relief_sheet
from facezoo.synth.produce import render_shards
from facezoo.synth.sheet import contact_sheet


def main() -> None:
    """Parse the command line and run it."""
    parser = argparse.ArgumentParser(prog="python -m facezoo.synth", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shards = commands.add_parser("shards", help="write shards for training")
    shards.add_argument("out")
    shards.add_argument("--count", type=int, default=20000)
    shards.add_argument("--first-seed", type=int, default=0)
    shards.add_argument("--size", type=int, default=176)
    shards.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    shards.add_argument("--shard", type=int, default=500)
    shards.add_argument("--relief", action="store_true", help="skin with its own geometry, stored as displacement")
    shards.add_argument("--pictures", type=int, default=4, help="with --relief: pictures of each person")
    faces = commands.add_parser("relief", help="draw faces without and with relief")
    faces.add_argument("out")
    faces.add_argument("--ages", type=float, nargs="+", default=[25, 50, 75])
    faces.add_argument("--size", type=int, default=512)
    sheet = commands.add_parser("sheet", help="draw a contact sheet")
    sheet.add_argument("out")
    sheet.add_argument("--rows", type=int, default=5)
    sheet.add_argument("--columns", type=int, default=8)
    sheet.add_argument("--first-seed", type=int, default=0)
    sheet.add_argument("--size", type=int, default=176)
    sheet.add_argument("--landmarks", action="store_true")
    albedo = commands.add_parser("albedo", help="build the open head's albedo basis")
    albedo.add_argument("out", nargs="?", help="default: the packaged file")
    args = parser.parse_args()
    if args.command == "shards":
        pictures = args.pictures if args.relief else 0
        render_shards(args.out, args.first_seed, args.count, args.size, args.workers, args.shard, pictures)
    elif args.command == "relief":
        relief_sheet(people_aged(args.ages), args.size).save(args.out, quality=82)
        print(args.out)
    elif args.command == "albedo":
        path = build_albedo(stage().layout, args.out)
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    else:
        seeds = args.first_seed + 4 * np.arange(args.rows * args.columns)
        contact_sheet(seeds.tolist(), args.columns, args.size, args.landmarks).save(args.out)
        print(args.out)


if __name__ == "__main__":
    main()
