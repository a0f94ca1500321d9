"""``facezoo evaluate``: NME on annotated photographs or by groups of people, as a table, JSON and a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from facezoo.cli.evaluate_now import NOW_DATA, run_now
from facezoo.data.readers import READERS, open_reader
from facezoo.errors import InputError, unknown_name
from facezoo.evaluation.landmarks68 import evaluate
from facezoo.evaluation.picture import contact_sheet
from facezoo.hub import resolve, sha256_of
from facezoo.hub.bias import BIAS_FILE
from facezoo.mesh.io.atomic import write_bytes
from facezoo.models.base import read_config
from facezoo.models.load import load
from facezoo.viz.save import png_bytes

_KEYS = ("data", "root", "boxes", "out", "count", "unpose", "split")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    settings = _settings(args.settings)
    if settings.get("data") == "synthetic":
        if read_config(resolve(args.model).folder)["method"] == "stabilizer":
            return _stabilizer(args, settings)
        return _by_groups(args, settings)
    if settings.get("data") in NOW_DATA:
        return run_now(args, settings)
    if settings.get("data") in ("aflw2000", "aflw") or settings.get("boxes") == "displaced":
        from facezoo.cli.evaluate_turned import run_turned

        return run_turned(args, settings)
    for key, hint in (("data", "|".join(READERS)), ("root", "the dataset's folder")):
        if key not in settings:
            raise InputError(f"evaluate needs {key}={hint}.")
    reader = open_reader(settings["data"], settings["root"])
    model = load(args.model, device=args.device)
    boxes = settings.get("boxes", "truth")
    result = evaluate(model, reader, boxes, args.detector)  # type: ignore[arg-type]
    summary = {
        "data": settings["data"],
        **result.summary,
        "weights_sha256": _weights_sha256(model.model_id),
        "command": f"facezoo evaluate {model.model_id} data={settings['data']} root=DIR boxes={boxes}"
        + (f" --detector {args.detector}" if boxes == "detector" else ""),
    }
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


def _by_groups(args: argparse.Namespace, settings: dict[str, str]) -> int:
    from facezoo.evaluation.groups import measure_groups  # the renderer, which photographs do without

    if not settings.get("count", "500").isdigit():
        raise InputError(f"count must be a whole number, got {settings['count']!r}.")
    model = load(args.model, device=args.device)
    report = measure_groups(model, _weights_sha256(model.model_id), int(settings.get("count", "500")))
    if "out" in settings:
        write_bytes(Path(settings["out"]) / BIAS_FILE, report.to_json().encode())
    if args.json:
        print(report.to_json(), end="")
        return 0
    print(f"{report.model} on {report.count} people: {report.metric}")
    for kind, groups in report.groups.items():
        for group in groups:
            print(f"{kind:<10}{group.name:<30}{group.n:>6}{group.nme:8.2f}")
    return 0


def _stabilizer(args: argparse.Namespace, settings: dict[str, str]) -> int:
    from facezoo.evaluation.stabilizer_table import measure, table

    for key in ("count", "unpose"):
        if not settings.get(key, "1").isdigit():
            raise InputError(f"{key} must be a whole number, got {settings[key]!r}.")
    model: Any = load(args.model, device="cpu")
    found = measure(model, int(settings.get("count", "256")), unpose=int(settings.get("unpose", "32")))
    result = {"model": model.model_id, "weights_sha256": _weights_sha256(model.model_id), **found}
    if "out" in settings:
        write_bytes(Path(settings["out"]) / "stabilizer.json", (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result, indent=1) if args.json else "\n".join(table(result)))
    return 0


def _weights_sha256(model: str) -> str:
    """Sign a measurement with the weights it was made on, so that no card shows it for others."""
    return sha256_of(resolve(model).folder / "model.safetensors")


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
