"""``facezoo bench``: speed on this machine, as a table or JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

from facezoo.cli.demo_command import astronaut
from facezoo.errors import InputError
from facezoo.models.load import pick_device
from facezoo.settings import Setting, read_settings, split_words, whole

# Of ``bench train``; all else is the recipe's.
_TRAIN = {"recipe": Setting("dense"), "steps": Setting(10, whole(1))}


def run(args: argparse.Namespace) -> int:
    """Measure what was asked for and print it."""
    result = _measure(args)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print("\n".join(table(result)))
    return 0


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    if args.settings and args.what != "train":
        raise InputError(
            f"facezoo bench {args.what} takes no {args.settings[0]!r}; only 'bench train' takes settings"
        )
    if args.what == "train":
        from facezoo.training.bench import bench_train

        own, overrides = split_words(args.settings, _TRAIN)
        given = read_settings("bench train", own, _TRAIN)
        return bench_train(given["recipe"], overrides, steps=given["steps"], device=args.device)
    if args.what == "fit":
        from facezoo.fitting.bench import bench_fit

        return bench_fit(device=pick_device(args.device))
    if args.what == "render":
        from facezoo.render.bench import bench_render

        return bench_render(device=pick_device(args.device))
    if args.what == "track":
        from facezoo.tracking.bench import bench_track

        return bench_track(astronaut(), args.model, args.device)
    if args.what == "synergynet":
        from facezoo.evaluation.synergynet_bench import bench_synergynet

        return bench_synergynet("synergynet" if args.model == "dense-1609" else args.model, args.device)
    if args.what == "stabilizer":
        from facezoo.evaluation.stabilizer_bench import bench_stabilizer

        return bench_stabilizer("skull-stabilizer" if args.model == "dense-1609" else args.model, args.device)
    from facezoo.evaluation.bench import bench_predict

    return bench_predict(astronaut(), args.model, args.device)


def table(values: dict[str, Any], indent: str = "") -> list[str]:
    """Lay out a measurement: one name and value a line, rows of a list as columns below their names."""
    width = max((len(name) for name in values), default=0)
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *table(value, indent + "  ")]
        elif isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            lines += [f"{indent}{name}", *_columns(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name:<{width}}  {_text(value)}")
    return lines


def _columns(rows: list[dict[str, Any]], indent: str) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_text(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return [
        indent + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
