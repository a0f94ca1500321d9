"""A contact sheet of an evaluation: every face with true and predicted points, worst first."""

from __future__ import annotations

import math

import torch
from PIL import Image, ImageDraw

from facezoo.data.images import load_image
from facezoo.evaluation.landmarks68 import Evaluation, FaceResult, nme_of
from facezoo.geometry.crop import CropSpec, apply_affine

_TILE = 224
_COLUMNS = 6
_TRUE, _PREDICTED, _MISSED = (255, 255, 255), (38, 222, 129), (229, 57, 53)


def contact_sheet(evaluation: Evaluation, labels: str) -> Image.Image:
    """Draw all faces: true points white, predicted points green, the NME in the corner.

    Args:
        evaluation: what to draw.
        labels: which label set to compare with.
    """
    ranked = sorted(evaluation.results, key=lambda r: -_error(r, evaluation.landmarks, labels))
    rows = max(1, math.ceil(len(ranked) / _COLUMNS))
    sheet = Image.new("RGB", (_COLUMNS * _TILE, rows * _TILE), (24, 24, 24))
    for place, result in enumerate(ranked):
        tile = _tile(result, evaluation.landmarks, labels)
        sheet.paste(tile, ((place % _COLUMNS) * _TILE, (place // _COLUMNS) * _TILE))
    return sheet


def _error(result: FaceResult, landmarks: str, labels: str) -> float:
    error = nme_of(result, landmarks, labels)
    return math.inf if math.isnan(error) else error


def _tile(result: FaceResult, landmarks: str, labels: str) -> Image.Image:
    spec = CropSpec(size=_TILE, scale=1.6, padding="edge")
    box = result.sample.box[None]
    pixels = torch.from_numpy(load_image(result.sample.path).pixels).permute(2, 0, 1) / 255
    crop = (spec.crop(pixels, box)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    tile = Image.fromarray(crop)
    draw = ImageDraw.Draw(tile)
    affine = spec.affine(box)
    sets = [(result.sample.labels[labels], _TRUE)]
    if result.face is not None:
        sets.append((result.face.landmarks[landmarks].float().cpu(), _PREDICTED))
    for points, colour in sets:
        for x, y in apply_affine(points[None], affine)[0].tolist():
            draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)
    if result.face is None:
        draw.text((6, 4), "missed", fill=_MISSED)
    else:
        draw.text(
            (6, 4),
            f"{nme_of(result, landmarks, labels):.2f} %",
            fill=_TRUE,
            stroke_width=1,
            stroke_fill=(0, 0, 0),
        )
    return tile
