"""The horizon curve: SSME over frames ahead, one panel a kind of video, one line a model and way."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw

from facezoo.evaluation.tracking import ALL, kinds_of

_PANEL, _MARGIN = (420, 300), (52, 30, 14, 40)  # pixels; left, top, right, bottom
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#111111")
_DASHES = {"single": (), "smoothed": (2, 4), "online": (8, 4), "offline": ()}
_WIDTHS = {"single": 1, "offline": 3}


def draw_horizons(found: dict[str, Any]) -> Image.Image:
    """Draw what :func:`facezoo.evaluation.tracking.evaluate_tracking` returned."""
    kinds = kinds_of(found)
    across = min(3, len(kinds) + 1)
    down = math.ceil((len(kinds) + 1) / across)
    picture = Image.new("RGB", (across * _PANEL[0], down * _PANEL[1]), "white")
    draw = ImageDraw.Draw(picture)
    top = 1.05 * max(max(v for v in row["curve_px"] if v is not None) for row in found["rows"])
    for place, kind in enumerate(kinds):
        corner = (place % across * _PANEL[0], place // across * _PANEL[1])
        rows = [row for row in found["rows"] if row["kind"] == kind]
        _panel(draw, corner, kind, rows, found["horizons"], top, found["models"])
    corner = (len(kinds) % across * _PANEL[0], len(kinds) // across * _PANEL[1])
    _legend(draw, corner, found)
    return picture


def _panel(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    kind: str,
    rows: list[dict[str, Any]],
    horizons: list[int],
    highest: float,
    models: list[str],
) -> None:
    left, top = corner[0] + _MARGIN[0], corner[1] + _MARGIN[1]
    right, bottom = corner[0] + _PANEL[0] - _MARGIN[2], corner[1] + _PANEL[1] - _MARGIN[3]

    def place(horizon: float, value: float) -> tuple[float, float]:
        return left + (right - left) * horizon / horizons[-1], bottom - (bottom - top) * value / highest

    step = 10 ** math.floor(math.log10(max(highest, 1e-3)))
    step = step if highest / step > 2.5 else step / 4
    for k in range(int(highest / step) + 1):
        draw.line([place(0, k * step), place(horizons[-1], k * step)], fill="#dddddd")
        draw.text((left - 6, place(0, k * step)[1]), f"{k * step:g}", fill="black", anchor="rm")
    for horizon in horizons:
        draw.line([place(horizon, 0), place(horizon, highest)], fill="#eeeeee")
        if horizon in (1, 5) or horizon % 10 == 0 or horizon == horizons[-1]:
            draw.text((place(horizon, 0)[0], bottom + 4), str(horizon), fill="black", anchor="mt")
    draw.text((left, top - 18), f"{kind}: SSME [px]", fill="black")
    draw.text(((left + right) / 2, bottom + 20), "frames ahead", fill="black", anchor="mt")
    for row in rows:
        points = [place(h, v) for h, v in zip(horizons, row["curve_px"], strict=True) if v is not None]
        _line(draw, points, _COLOURS[models.index(row["model"]) % len(_COLOURS)], row["way"])


def _legend(draw: ImageDraw.ImageDraw, corner: tuple[int, int], found: dict[str, Any]) -> None:
    x, y = corner[0] + 30, corner[1] + 40
    for number, model in enumerate(found["models"]):
        for way in _DASHES:
            rows = [r for r in found["rows"] if (r["model"], r["way"], r["kind"]) == (model, way, ALL)]
            if not rows:
                continue
            _line(draw, [(x, y), (x + 50, y)], _COLOURS[number % len(_COLOURS)], way)
            draw.text((x + 60, y), f"{model} {way}: {rows[0]['ssme_px']:.3f}", fill="black", anchor="lm")
            y += 18


def _line(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: str, way: str) -> None:
    """Draw a polyline, dashed as its way is."""
    dash, width = _DASHES.get(way, ()), _WIDTHS.get(way, 2)
    if not dash:
        draw.line(points, fill=colour, width=width)
        return
    at, on = 0.0, True
    for (x0, y0), (x1, y1) in pairwise(points):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while done < length:
            rest = min((dash[0] if on else dash[1]) - at, length - done)
            a, b = done / length, (done + rest) / length
            if on:
                draw.line(
                    [(x0 + (x1 - x0) * a, y0 + (y1 - y0) * a), (x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)],
                    fill=colour,
                    width=width,
                )
            done, at = done + rest, at + rest
            if at >= (dash[0] if on else dash[1]) - 1e-9:
                at, on = 0.0, not on
