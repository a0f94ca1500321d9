"""``facezoo evaluate MODEL data=now|now-synthetic``: neutral heads against scans, as a table, JSON and curves."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facezoo.settings import Setting, whole

if TYPE_CHECKING:
    from facezoo.evaluation.now import NowResult
    from facezoo.models.predict import FaceModel

# ``data=`` and its settings.
NOW_DATA = {
    "now": {"root": Setting(needed="DIR"), "split": Setting("validation"), "out": Setting()},
    "now-synthetic": {"count": Setting(200, whole(1)), "out": Setting()},
}


def run_now(args: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Measure and print.

    Args:
        args: of ``facezoo evaluate``.
        settings: ``root`` of the benchmark and its ``split`` (validation or test), or ``count`` synthetic people;
            ``out`` for files.
    """
    from facezoo.evaluation.now_picture import draw_curves
    from facezoo.hub import resolve
    from facezoo.mesh.io.atomic import write_bytes, write_json
    from facezoo.models.load import load
    from facezoo.viz.save import png_bytes

    model = load(args.model, device=args.device)
    out = Path(settings["out"]) if "out" in settings else None
    measure = _benchmark if settings["data"] == "now" else _synthetic
    stem, arguments, result = measure(model, settings, out)
    summary = {
        "model": model.model_id,
        "data": stem,
        "millimetres": result.summary(),
        "weights_sha256": resolve(model.model_id).weights_sha256,
        "command": f"facezoo evaluate {model.model_id} data={settings['data']} {arguments}",
    }
    if out is not None:
        write_json(out / f"{stem}.json", summary)
        if result.pooled:
            write_bytes(out / f"{stem}_curve.png", png_bytes(draw_curves(result.pooled, model.model_id)))
    if args.json:
        print(json.dumps(summary, indent=1))
        return 0
    print(f"{model.model_id} on {stem}: {len(result.medians)} heads measured")
    for name, row in result.summary().items():
        print(f"{name:<12} median {row['median']:.2f}  mean {row['mean']:.2f}  std {row['std']:.2f} mm")
    return 0


def _benchmark(model: FaceModel, settings: dict[str, Any], out: Path | None) -> tuple[str, str, NowResult]:
    from facezoo.evaluation.now import evaluate_now
    from facezoo.evaluation.now_data import NowBenchmark

    split = settings["split"]
    result = evaluate_now(
        model,
        NowBenchmark(settings["root"], split),
        predictions=None if out is None else out / f"now_{split}",
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    return f"now_{split}", f"root=DIR split={split}", result


def _synthetic(model: FaceModel, settings: dict[str, Any], out: Path | None) -> tuple[str, str, NowResult]:
    from facezoo.evaluation.now_synthetic import (
        evaluate_synthetic,
    )  # the renderer, which photographs do without

    count = settings["count"]
    return "now_synthetic", f"count={count}", evaluate_synthetic(model, count)
