"""Measure tracks on videos with a known surface: SSME over horizons, jitter, drift, lips, skull; models side by side.

    facezoo evaluate dense-1609 data=tracking models=synergynet,/path/to/export count=4 frames=60 out=DIR

Every model is measured on single frames, the same smoothed over time, and, where it finds landmarks with confidences,
fitted online and offline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from facezoo.errors import InputError
from facezoo.evaluation.tracking_clips import Clip
from facezoo.evaluation.tracking_speech import lip_errors, skull_errors
from facezoo.evaluation.tracking_ways import ways_of
from facezoo.metrics.ssme import SSME, ssme
from facezoo.models.predict import FaceModel
from facezoo.tracking import SolveOptions

if TYPE_CHECKING:
    from facezoo.models.stabilizer.predict import SkullStabilizer

# frames ahead, as far as a video is long
HORIZONS = (1, 2, 3, 5, 10, 15, 20, 30)
ALL = "all"  # the kind that stands for all videos
_SPEECH = ("talk", "occluder")
_COLUMNS = (
    ("SSME", "ssme_px"), ("jitter", "jitter_px"), ("drift", "drift_px"), ("cover", "coverage"),
    ("closure", "closure_mm"), ("lips", "lips_mm"), ("skull", "skull_moves_mm"), ("held", "skull_held_mm"),
    ("turns", "skull_turns_deg"), ("left", "skull_left_deg"),
)  # fmt: skip


def evaluate_tracking(
    models: Sequence[FaceModel],
    clips: Iterable[Clip],
    *,
    solve: SolveOptions | None = None,
    stabilizer: SkullStabilizer | None = None,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Track videos with several models, each in every way it can, and measure.

    Args:
        models: any number.
        clips: the videos.
        solve: options of the joint fits.
        stabilizer: holds the skulls of tracks of talking people still; None leaves that out.
        report: called with a line about each track.

    Returns:
        JSON values. ``rows``: one a model, way and kind of video (``"all"`` too) with means over videos: ``ssme_px``,
        ``ssme_percent`` (of the face's size), ``jitter_px`` (horizon 1), ``drift_px`` (the longest), ``coverage``,
        ``regions_px``, ``curve_px`` by horizon, ``videos`` and ``lost`` (not followed); and, where the truth tells,
        ``closure_mm``, ``lips_mm`` (:func:`~facezoo.evaluation.tracking_speech.lip_errors`) and ``skull_*``
        (:func:`~facezoo.evaluation.tracking_speech.skull_errors`).

    Raises:
        InputError: no models or no videos, or two models of one name.
    """
    names = [model.model_id for model in models]
    if not names or len(set(names)) < len(names):
        raise InputError(f"give different models, at least one; got {', '.join(names) or 'none'}.")
    results: dict[tuple[str, str], list[tuple[str, SSME, dict[str, float]]]] = {}
    lost: dict[tuple[str, str], int] = {}
    kinds: list[str] = []
    horizons: list[int] = []
    frames = 0
    for clip in clips:
        if clip.kind not in kinds:
            kinds.append(clip.kind)
        frames = max(frames, len(clip.images))
        horizons = [h for h in HORIZONS if h < len(clip.images)]
        for model in models:
            tracked = ways_of(model, clip, solve or SolveOptions())
            if tracked is None:
                key = (model.model_id, clip.kind)
                lost[key] = lost.get(key, 0) + 1
                if report is not None:
                    report(f"{clip.name} {clip.kind:9s} {model.model_id}: lost")
                continue
            for name, way in tracked[0].items():
                got = ssme(
                    clip.truth, way.surface, clip.size, horizons, clip.regions, clip.main, valid=tracked[1]
                )
                more = lip_errors(clip, way, tracked[1]) if clip.kind in _SPEECH else {}
                more = {f"{key}_mm": value for key, value in more.items()}
                if stabilizer is not None and clip.kind == "talk":
                    skull = skull_errors(clip, way, tracked[1], stabilizer)
                    more |= {f"skull_{key}": value for key, value in skull.items()}
                results.setdefault((model.model_id, name), []).append((clip.kind, got, more))
                if report is not None:
                    report(f"{clip.name} {clip.kind:9s} {model.model_id} {name:9s} SSME {got.mean:.3f} px")
    if not kinds:
        raise InputError("no videos to measure on.")
    rows = []
    for kind in (ALL, *kinds):
        for (model_id, name), values in results.items():
            chosen = [(got, more) for of, got, more in values if kind in (ALL, of)]
            gone = sum(n for (who, of), n in lost.items() if who == model_id and kind in (ALL, of))
            if chosen:
                rows.append(
                    {"kind": kind, "model": model_id, "way": name, "videos": len(chosen), "lost": gone}
                    | _average(chosen)
                )
    return {"models": names, "kinds": kinds, "frames": frames, "horizons": horizons, "rows": rows,
            "lost": {f"{model_id} {kind}": n for (model_id, kind), n in lost.items()}}  # fmt: skip


def _average(values: Sequence[tuple[SSME, dict[str, float]]]) -> dict[str, Any]:
    def mean(numbers: Sequence[float]) -> float | None:
        finite = [v for v in numbers if v == v]
        return round(sum(finite) / len(finite), 4) if finite else None

    scores = [got for got, _ in values]
    names = sorted({name for _, more in values for name in more})
    return {
        "ssme_px": mean([v.mean for v in scores]),
        "ssme_percent": mean([v.percent for v in scores]),
        "jitter_px": mean([v.jitter for v in scores]),
        "drift_px": mean([v.drift for v in scores]),
        "coverage": mean([v.coverage for v in scores]),
        "regions_px": {name: mean([v.regions[name] for v in scores]) for name in scores[0].regions},
        "curve_px": [mean([v.curve[i] for v in scores]) for i in range(len(scores[0].curve))],
        **{name: mean([more[name] for _, more in values if name in more]) for name in names},
    }


def kinds_of(found: dict[str, Any]) -> list[str]:
    """Return the kinds of video with results; ``"all"`` before them where there are several."""
    kinds = [kind for kind in found["kinds"] if any(row["kind"] == kind for row in found["rows"])]
    return [ALL, *kinds] if len(kinds) > 1 else kinds


def table(found: dict[str, Any]) -> list[str]:
    """Return the rows as lines: one table a kind of video; pixels, and millimetres for lips and skull."""
    longest = found["horizons"][-1]
    wide = max((len(row["model"]) for row in found["rows"]), default=5)
    lines = [
        f"pixels of the frames; jitter: 1 frame ahead, drift: {longest} frames ahead. Millimetres: error of the lip "
        "distance where lips are shut (closure) and",
        "everywhere (lips); how far the skull moves before (skull) and after it is held still (held). Degrees: how far "
        "the true head turns, and what is left",
        "when it is turned back by what was found on the track.",
    ]
    for kind in kinds_of(found):
        rows = [row for row in found["rows"] if row["kind"] == kind]
        columns = [(title, key) for title, key in _COLUMNS if any(row.get(key) is not None for row in rows)]
        lines += ["", f"{kind:{wide + 10}s} " + " ".join(f"{title:>8s}" for title, _ in columns)]
        for row in rows:
            cells = [row.get(key) for _, key in columns]
            text = " ".join(" " * 8 if cell is None else f"{cell:8.3f}" for cell in cells)
            lines.append(f"{row['model']:{wide}s} {row['way']:9s} {text}")
    lines += [f"{name}: {n} videos not followed" for name, n in found["lost"].items()]
    return lines
