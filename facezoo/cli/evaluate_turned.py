"""``facezoo evaluate MODEL data=aflw2000|aflw`` (tables by yaw, beside published ones) and ``boxes=displaced``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from facezoo.data.readers import open_reader
from facezoo.evaluation.displaced_boxes import evaluate_displaced
from facezoo.evaluation.large_pose import evaluate_large_pose, report
from facezoo.hub import resolve
from facezoo.mesh.io.atomic import write_json
from facezoo.models.load import load


def run_turned(args: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Measure and print.

    Args:
        args: of ``facezoo evaluate``.
        settings: ``data``, ``root``, ``boxes`` (truth, detector or displaced) and ``out`` for a JSON file.
    """
    data, boxes = settings["data"], settings["boxes"]
    reader = open_reader(data, settings["root"])
    model = load(args.model, device=args.device)
    summary: dict[str, Any] = {"data": data, "boxes": boxes}
    if boxes == "displaced":
        found = evaluate_displaced(model, reader)
        summary |= found
        lines = [f"{found['model']} on {data}: {found['faces']} faces, NME % with boxes that are off"]
        for row in found["rows"]:
            cells = "  ".join(f"{k} {v:.2f}" for k, v in row.items() if k not in ("scale", "right", "down"))
            lines.append(
                f"  scale {row['scale']:.2f}  right {row['right']:+.2f}  down {row['down']:+.2f}   {cells}"
            )
        lines.append("  worst less best  " + "  ".join(f"{k} {v:.2f}" for k, v in found["spread"].items()))
    else:
        result = evaluate_large_pose(model, reader, boxes, args.detector)  # type: ignore[arg-type]
        summary |= result.to_dict()
        lines = [
            f"{model.model_id} on {data}: {summary['faces']} faces, {summary['missed']} missed",
            f"boxes: {summary['boxes']}; landmarks: {summary['landmarks']}; {summary['note']}",
            *report(result, data),
        ]
    summary["weights_sha256"] = resolve(model.model_id).weights_sha256
    summary["command"] = f"facezoo evaluate {model.model_id} data={data} root=DIR boxes={boxes}"
    if "out" in settings:
        write_json(Path(settings["out"]) / f"{data}_{boxes}.json", summary)
    print(json.dumps(summary, indent=1) if args.json else "\n".join(lines))
    return 0
