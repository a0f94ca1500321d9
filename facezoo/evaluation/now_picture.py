"""The NoW benchmark's cumulative curves: which share of the scans' vertices is nearer than so many millimetres."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from facezoo.metrics.scan import PooledDistance

_SIZE, _MARGIN, _LARGEST = (760, 520), (64, 30, 24, 56), 7.0  # pixels; left, top, right, bottom; millimetres
_COLOURS = ("#111111", "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")


def cumulative_curve(
    pooled: Mapping[str, PooledDistance], steps: int = 281
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return errors (N,) from 0 to 7 mm and for each group the percentage of vertices (N,) up to each."""
    errors = np.linspace(0, _LARGEST, steps)
    return errors, {
        name: 100
        * np.searchsorted(metric.values().sort().values.numpy(), errors, side="right")
        / max(metric.count, 1)
        for name, metric in pooled.items()
    }


def draw_curves(pooled: Mapping[str, PooledDistance], title: str = "") -> Image.Image:
    """Draw the curves of all groups with their medians."""
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = _MARGIN[0], _MARGIN[1], _SIZE[0] - _MARGIN[2], _SIZE[1] - _MARGIN[3]

    def place(error: float, percent: float) -> tuple[float, float]:
        return left + (right - left) * error / _LARGEST, bottom - (bottom - top) * percent / 100

    for error in range(int(_LARGEST) + 1):
        draw.line([place(error, 0), place(error, 100)], fill="#dddddd")
        draw.text((place(error, 0)[0], bottom + 8), str(error), fill="black", anchor="mt")
    for percent in range(0, 101, 20):
        draw.line([place(0, percent), place(_LARGEST, percent)], fill="#dddddd")
        draw.text((left - 8, place(0, percent)[1]), str(percent), fill="black", anchor="rm")
    draw.text(((left + right) / 2, bottom + 28), "error [mm]", fill="black", anchor="mt")
    draw.text((8, top - 18), "vertices [%]", fill="black")
    draw.text(((left + right) / 2, top - 18), title, fill="black", anchor="mt")
    errors, curves = cumulative_curve(pooled)
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        draw.line([place(e, p) for e, p in zip(errors, curve, strict=True)], fill=colour, width=2)
        text = f"{name}: median {float(pooled[name].compute()[0]):.2f} mm"
        draw.text((right - 12, bottom - 20 - 18 * (len(curves) - number)), text, fill=colour, anchor="rt")
    return picture
