"""NME of the 68 iBUG landmarks on annotated photographs.

Mean over the 68 points of the Euclidean distance in the picture, divided by √(w·h) of the box tight around the true
points, in percent; mean over faces (Zhu et al. 2016; 300W-LP / AFLW2000-3D protocol).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from facezoo.data.readers import FaceSample, Reader
from facezoo.detect import load_detector
from facezoo.detect.suppress import overlaps
from facezoo.errors import InputError
from facezoo.geometry.crop import tight_box
from facezoo.metrics import NormalizedMeanError
from facezoo.models.predict import FaceModel
from facezoo.types import Face

GROUPS = {"jaw": (0, 17), "brow": (17, 27), "nose": (27, 36), "eye": (36, 48), "mouth": (48, 68)}
BoxSource = Literal["truth", "detector"]
# A detected face belongs to an annotated one if their tight boxes overlap by this much.
_SAME_FACE = 0.3


@dataclass(frozen=True)
class FaceResult:
    """One annotated face and what was predicted for it; None if the detector missed it."""

    sample: FaceSample
    face: Face | None


@dataclass(frozen=True)
class Evaluation:
    """A finished measurement: per-face results and their summary, ready for JSON."""

    results: list[FaceResult]
    landmarks: str
    summary: dict[str, Any]


def evaluate(
    model: FaceModel, reader: Reader, boxes: BoxSource = "truth", detector: str = "auto"
) -> Evaluation:
    """Predict every annotated face and compare.

    Args:
        model: any model with 68 landmarks.
        reader: the annotated faces.
        boxes: ``"truth"`` crops at the true tight box, ``"detector"`` finds the faces first; faces it misses are
            counted, not averaged.
        detector: which detector.

    Raises:
        InputError: ``boxes`` is neither.
    """
    if boxes not in ("truth", "detector"):
        raise InputError(f"boxes must be 'truth' or 'detector', got {boxes!r}.")
    samples = [reader[i] for i in range(len(reader))]
    results = _predict(model, samples, boxes, detector)
    found = [result.face for result in results if result.face is not None]
    # The set whose jaw follows the dataset's convention, if the model has one.
    wanted = reader.info.landmarks
    name = wanted if all(wanted in face.landmarks for face in found) else "ibug68"
    summary: dict[str, Any] = {
        "model": model.model_id,
        "faces": len(samples),
        "missed": len(samples) - len(found),
        "boxes": "true tight boxes" if boxes == "truth" else f"detector {load_detector(detector).name}",
        "landmarks": name,
        "note": reader.info.note,
        "nme_percent": {key: nme_by_group(results, name, key) for key in samples[0].labels}
        if samples
        else {},
    }
    return Evaluation(results, name, summary)


def nme_by_group(results: Sequence[FaceResult], landmarks: str, labels: str) -> dict[str, float]:
    """Return the NME in percent over all points and over each group; every group is divided by the whole face's box."""
    pairs = [(r.face.landmarks[landmarks], r.sample.labels[labels]) for r in results if r.face is not None]
    if not pairs:
        return {}
    predicted = torch.stack([pair[0].float().cpu() for pair in pairs])
    truth = torch.stack([pair[1] for pair in pairs])
    side = _side(tight_box(truth))
    out: dict[str, float] = {}
    for group, (first, last) in {"mean": (0, 68), **GROUPS}.items():
        metric = NormalizedMeanError()
        metric.update(predicted[:, first:last], truth[:, first:last], side)
        out[group] = round(float(metric.compute()), 3)
    return out


def nme_of(result: FaceResult, landmarks: str, labels: str) -> float:
    """Return one face's NME in percent; NaN if it was missed."""
    return nme_by_group([result], landmarks, labels).get("mean", float("nan"))


def _predict(model: FaceModel, samples: list[FaceSample], boxes: str, detector: str) -> list[FaceResult]:
    """Run the model once a picture, and give every annotated face the prediction that covers it."""
    members: dict[Path, list[int]] = {}
    for index, sample in enumerate(samples):
        members.setdefault(sample.path, []).append(index)
    paths = list(members)
    given = (
        [torch.stack([samples[i].box for i in members[path]]) for path in paths] if boxes == "truth" else None
    )
    predictions = model.predict(paths, boxes=given, detector=detector, fit=False)
    faces: list[Face | None] = [None] * len(samples)
    for path, prediction in zip(paths, predictions, strict=True):
        if given is not None:
            for index, face in zip(members[path], prediction, strict=True):
                faces[index] = face
        elif len(prediction):
            pairs, _ = overlaps(
                torch.stack([samples[i].box for i in members[path]]),
                torch.stack([face.box.float().cpu() for face in prediction]),
            )
            for row, column in _greedy(pairs):
                faces[members[path][row]] = prediction[column]
    return [FaceResult(sample, face) for sample, face in zip(samples, faces, strict=True)]


def _greedy(overlap: Tensor) -> list[tuple[int, int]]:
    """Pair rows with columns, best overlap first, each used once."""
    overlap = overlap.clone()
    pairs = []
    while overlap.numel() and float(overlap.max()) > _SAME_FACE:
        row, column = divmod(int(overlap.argmax()), overlap.shape[1])
        pairs.append((row, column))
        overlap[row], overlap[:, column] = -1, -1
    return pairs


def _side(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
