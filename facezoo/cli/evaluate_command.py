"""``facezoo evaluate``: NME on annotated photographs, as a table, JSON and a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from facezoo.data.readers import READERS, open_reader
from facezoo.errors import InputError, unknown_name
from facezoo.evaluation.landmarks68 import evaluate
from facezoo.evaluation.picture import contact_sheet
from facezoo.mesh.io.atomic import write_bytes
from facezoo.models.load import load
from facezoo.viz.save import png_bytes

_KEYS = ("data", "root", "boxes", "out")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    settings = _settings(args.settings)
    for key, hint in (("data", "|".join(READERS)), ("root", "the dataset's folder")):
        if key not in settings:
            raise InputError(f"evaluate needs {key}={hint}.")
    reader = open_reader(settings["data"], settings["root"])
    model = load(args.model, device=args.device)
    boxes = settings.get("boxes", "truth")
    result = evaluate(model, reader, boxes, args.detector)  # type: ignore[arg-type]
    summary = {"data": settings["data"], **result.summary}
    if "out" in settings:
        stem = Path(settings["out"]) / f"{settings['data']}_{boxes}"
        for labels in result.summary["nme_percent"]:
            picture = contact_sheet(result, labels)
            write_bytes(stem.with_name(f"{stem.name}_{labels}.png"), png_bytes(picture))
        write_bytes(stem.with_name(f"{stem.name}.json"), (json.dumps(summary, indent=1) + "\n").encode())
    if args.json:
        print(json.dumps(summary, indent=1))
    else:
        _print(summary)
    return 0


def _print(summary: dict) -> None:
    print(f"{summary['model']} on {summary['data']}: {summary['faces']} faces, {summary['missed']} missed")
    print(f"boxes: {summary['boxes']}; landmarks: {summary['landmarks']}; {summary['note']}")
    for labels, row in summary["nme_percent"].items():
        cells = "  ".join(f"{group} {value:.2f}" for group, value in row.items())
        print(f"NME % ({labels} labels)  {cells}")


def _settings(items: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"expected key=value, got {item!r}; keys: {', '.join(_KEYS)}.")
        if key not in _KEYS:
            raise unknown_name("evaluate setting", key, _KEYS)
        settings[key] = value
    return settings
