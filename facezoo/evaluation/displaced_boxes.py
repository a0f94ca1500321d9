"""How much a wrong box costs: NME when the crop is larger, smaller or beside where it should be."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from facezoo.data.readers import FaceSample, Reader, ReaderInfo
from facezoo.evaluation.landmarks68 import evaluate
from facezoo.models.predict import FaceModel

SCALES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35)
SHIFTS = ((0.15, 0.0), (-0.15, 0.0), (0.0, 0.15), (0.0, -0.15))


class DisplacedBoxes:
    """A dataset whose boxes are off by a factor and by shares of the crop's side."""

    def __init__(self, reader: Reader, crop_scale: float, scale: float, shift: tuple[float, float]) -> None:
        self.reader, self.crop_scale, self.scale, self.shift = reader, crop_scale, scale, shift

    @property
    def info(self) -> ReaderInfo:
        """The dataset's own."""
        return self.reader.info

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> FaceSample:
        sample = self.reader[index]
        centre, extent = (sample.box[:2] + sample.box[2:]) / 2, sample.box[2:] - sample.box[:2]
        centre = centre + torch.tensor(self.shift) * self.crop_scale * extent.prod().sqrt()
        half = self.scale * extent / 2
        return dataclasses.replace(sample, box=torch.cat([centre - half, centre + half]))


def evaluate_displaced(model: FaceModel, reader: Reader) -> dict[str, Any]:
    """Measure a model on displaced boxes.

    Returns:
        ``rows``: one a displacement with its NME by label set, percent; ``spread``: label set -> worst less best.
    """
    rows: list[dict[str, Any]] = []
    places = [(scale, (0.0, 0.0)) for scale in SCALES] + [(1.0, shift) for shift in SHIFTS]
    for scale, shift in places:
        moved = DisplacedBoxes(reader, model.crop.scale, scale, shift)
        found = evaluate(model, moved).summary["nme_percent"]
        rows.append(
            {"scale": scale, "right": shift[0], "down": shift[1], **{k: v["mean"] for k, v in found.items()}}
        )
    sets = [name for name in rows[0] if name not in ("scale", "right", "down")]
    spread = {name: round(max(r[name] for r in rows) - min(r[name] for r in rows), 3) for name in sets}
    return {"model": model.model_id, "faces": len(reader), "rows": rows, "spread": spread}
