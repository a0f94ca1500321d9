"""``facezoo evaluate MODEL data=tracking|multiface``: tracks of videos with known surfaces, models side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facezoo.settings import Setting, several, switch, whole

if TYPE_CHECKING:
    from facezoo.evaluation.tracking_clips import Clip

_BOTH = {"models": Setting(kind=several(str)), "frames": Setting(45, whole(3)), "out": Setting()}
TRACKING_DATA = {
    "tracking": {
        **_BOTH,
        "count": Setting(2, whole(1)),
        "kinds": Setting(kind=several(str)),
        "size": Setting(176, whole(32)),
        "skull": Setting(True, switch),
    },
    "multiface": {
        **_BOTH,
        "root": Setting(needed="DIR"),
        "sequences": Setting(kind=several(str)),
        "cameras": Setting(kind=several(str)),
        "side": Setting(1024, whole(64)),
        "regions": Setting(),
    },
}


def run_tracking(args: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Measure, print a table a kind of video, and write it with the horizon curves.

    Args:
        args: of ``facezoo evaluate``.
        settings: ``models`` beside the one named first, ``frames`` of each video, ``out`` for files. Synthetic:
            ``count`` people, ``kinds`` of motion, ``size`` of the pictures, ``skull=false`` without the stabilizer.
            Multiface: ``root`` of one person's folder, ``sequences``, ``cameras``, longest ``side`` of the pictures,
            ``regions`` (NPZ of vertex ids).
    """
    from facezoo.evaluation.tracking import evaluate_tracking, table
    from facezoo.evaluation.tracking_picture import draw_horizons
    from facezoo.hub import resolve
    from facezoo.mesh.io.atomic import write_bytes, write_json
    from facezoo.models.load import load
    from facezoo.viz.save import png_bytes

    names = list(dict.fromkeys([args.model, *settings.get("models", [])]))
    models: list[Any] = [load(name, device=args.device) for name in names]
    stabilizer: Any = load("skull-stabilizer") if settings.get("skull") else None
    found = evaluate_tracking(
        models,
        _clips(settings),
        stabilizer=stabilizer,
        report=None if args.json else lambda line: print(line, file=sys.stderr, flush=True),
    )
    words = [f"{key}={_word(value)}" for key, value in settings.items() if key not in ("out", "root")]
    digests = {m.model_id: resolve(m.model_id).weights_sha256 for m in models}
    found |= {"weights_sha256": digests, "command": f"facezoo evaluate {args.model} {' '.join(words)}"}
    if "out" in settings:
        out = Path(settings["out"])
        write_json(out / f"{settings['data']}.json", found)
        if found["rows"]:
            write_bytes(out / f"{settings['data']}_horizons.png", png_bytes(draw_horizons(found)))
    print(json.dumps(found, indent=1) if args.json else "\n".join(table(found)))
    return 0


def _clips(settings: dict[str, Any]) -> Iterable[Clip]:
    if settings["data"] == "tracking":
        from facezoo.evaluation.tracking_clips import synthetic_clips
        from facezoo.synth.sequence import KINDS

        return synthetic_clips(
            settings["count"], settings.get("kinds", KINDS), settings["frames"], settings["size"]
        )
    from facezoo.evaluation.tracking_multiface import multiface_clips

    return multiface_clips(
        settings["root"],
        settings.get("sequences"),
        settings.get("cameras"),
        frames=settings["frames"],
        side=settings["side"],
        regions=settings.get("regions"),
    )


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
