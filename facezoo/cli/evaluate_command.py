"""``facezoo evaluate``: NME on annotated photographs or by groups of people, as a table, JSON and a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from facezoo.cli.evaluate_now import NOW_DATA, run_now
from facezoo.cli.evaluate_relief import RELIEF_DATA, run_relief
from facezoo.cli.evaluate_tracking import TRACKING_DATA, run_tracking
from facezoo.data.readers import READERS, open_reader
from facezoo.errors import unknown_name
from facezoo.evaluation.landmarks68 import evaluate
from facezoo.evaluation.picture import contact_sheet
from facezoo.hub import resolve
from facezoo.hub.bias import BIAS_FILE
from facezoo.mesh.io.atomic import write_bytes, write_json
from facezoo.models.base import read_config
from facezoo.models.load import load
from facezoo.settings import Setting, read_settings, whole
from facezoo.viz.save import png_bytes

_PHOTOGRAPHS = {"root": Setting(needed="DIR"), "boxes": Setting("truth"), "out": Setting()}
_GROUPS = {"count": Setting(500, whole(1)), "out": Setting()}
_MESHES = {"count": Setting(256, whole(1)), "unpose": Setting(32, whole()), "out": Setting()}


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    settings = _settings(args.model, args.settings)
    if "unpose" in settings:
        return _stabilizer(args, settings)
    if settings["data"] == "synthetic":
        return _by_groups(args, settings)
    if settings["data"] in NOW_DATA:
        return run_now(args, settings)
    if settings["data"] in RELIEF_DATA:
        return run_relief(args, settings)
    if settings["data"] in TRACKING_DATA:
        return run_tracking(args, settings)
    if settings["data"] in ("aflw2000", "aflw") or settings["boxes"] == "displaced":
        from facezoo.cli.evaluate_turned import run_turned

        return run_turned(args, settings)
    reader = open_reader(settings["data"], settings["root"])
    model = load(args.model, device=args.device)
    boxes = settings["boxes"]
    result = evaluate(model, reader, boxes, args.detector)  # type: ignore[arg-type]
    summary = {
        "data": settings["data"],
        **result.summary,
        "weights_sha256": resolve(model.model_id).weights_sha256,
        "command": f"facezoo evaluate {model.model_id} data={settings['data']} root=DIR boxes={boxes}"
        + (f" --detector {args.detector}" if boxes == "detector" else ""),
    }
    if "out" in settings:
        stem = Path(settings["out"]) / f"{settings['data']}_{boxes}"
        for labels in result.summary["nme_percent"]:
            picture = contact_sheet(result, labels)
            write_bytes(stem.with_name(f"{stem.name}_{labels}.png"), png_bytes(picture))
        write_json(stem.with_name(f"{stem.name}.json"), summary)
    if args.json:
        print(json.dumps(summary, indent=1))
    else:
        _print(summary)
    return 0


def _by_groups(args: argparse.Namespace, settings: dict[str, Any]) -> int:
    from facezoo.evaluation.groups import measure_groups  # the renderer, which photographs do without

    model = load(args.model, device=args.device)
    report = measure_groups(model, resolve(model.model_id).weights_sha256, settings["count"])
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


def _stabilizer(args: argparse.Namespace, settings: dict[str, Any]) -> int:
    from facezoo.evaluation.stabilizer_table import measure, table

    model: Any = load(args.model, device="cpu")
    found = measure(model, settings["count"], unpose=settings["unpose"])
    result = {"model": model.model_id, "weights_sha256": resolve(model.model_id).weights_sha256, **found}
    if "out" in settings:
        write_json(Path(settings["out"]) / "stabilizer.json", result)
    print(json.dumps(result, indent=1) if args.json else "\n".join(table(result)))
    return 0


def _print(summary: dict) -> None:
    print(f"{summary['model']} on {summary['data']}: {summary['faces']} faces, {summary['missed']} missed")
    print(f"boxes: {summary['boxes']}; landmarks: {summary['landmarks']}; {summary['note']}")
    for labels, row in summary["nme_percent"].items():
        cells = "  ".join(f"{group} {value:.2f}" for group, value in row.items())
        print(f"NME % ({labels} labels)  {cells}")


def _settings(model: str, words: list[str]) -> dict[str, Any]:
    """Read the settings that the data have: which ones, ``data=`` itself decides."""
    names = [*READERS, *NOW_DATA, *RELIEF_DATA, *TRACKING_DATA, "synthetic"]
    data = next((word.partition("=")[2] for word in words if word.startswith("data=")), "")
    if data and data not in names:
        raise unknown_name("data", data, names)
    known = {**NOW_DATA, **RELIEF_DATA, **TRACKING_DATA, "synthetic": _GROUPS}.get(data, _PHOTOGRAPHS)
    if data == "synthetic" and read_config(resolve(model).folder)["method"] == "stabilizer":
        known = _MESHES
    return read_settings("evaluate", words, {"data": Setting(needed="|".join(names)), **known})
