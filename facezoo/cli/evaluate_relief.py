"""``facezoo evaluate MODEL data=relief-synthetic``: predicted wrinkles against true ones, as a table and a picture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from facezoo.errors import InputError
from facezoo.settings import Setting, whole

RELIEF_DATA = {"relief-synthetic": {"count": Setting(100, whole(2)), "out": Setting()}}


def run_relief(args: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Measure and print; ``count`` people, ``out`` for files."""
    from facezoo.evaluation.relief import evaluate_relief
    from facezoo.evaluation.relief_picture import draw_relief
    from facezoo.hub import resolve
    from facezoo.mesh.io.atomic import write_bytes, write_json
    from facezoo.models.deca.predict import Deca
    from facezoo.models.load import load
    from facezoo.viz.save import png_bytes

    model = load(args.model, device=args.device)
    if not isinstance(model, Deca):
        raise InputError(
            f"data=relief-synthetic measures DECA's displacements; {model.model_id} predicts none."
        )
    report = evaluate_relief(
        model, settings["count"], say=lambda text: print(text, file=sys.stderr, flush=True)
    )
    summary = {
        "model": model.model_id,
        **report.to_dict(),
        "weights_sha256": resolve(model.model_id).weights_sha256,
        "command": f"facezoo evaluate {model.model_id} data=relief-synthetic count={settings['count']}",
    }
    if "out" in settings:
        out = Path(settings["out"])
        write_json(out / "relief.json", summary)
        write_bytes(out / "relief.png", png_bytes(draw_relief(model, report.faces)))
    print(json.dumps(summary, indent=1) if args.json else "\n".join([model.model_id, *report.lines()]))
    return 0
