"""The NoW benchmark: predict every picture, export the neutral head, measure it against the scan, pool the distances.

Median, mean and deviation run over all counted vertices of all pictures, not over pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facezoo.errors import AssetError, InputError
from facezoo.evaluation.now_alignment import SEVEN, Array, scan_error
from facezoo.evaluation.now_data import NowBenchmark, NowPicture, Scan
from facezoo.geometry.crop import tight_box
from facezoo.heads import HeadModel, HeadParams
from facezoo.heads.registry import load_head
from facezoo.mesh import Mesh, write_mesh
from facezoo.mesh.io.atomic import write_bytes
from facezoo.metrics.scan import PooledDistance
from facezoo.models.predict import FaceModel
from facezoo.types import Face

ALL = "all"
_LOOKS = (
    3  # the benchmark's boxes are another detector's: crop anew from the landmarks, as after any detector
)


@dataclass
class NowResult:
    """What has been measured so far.

    Attributes:
        pooled: challenge, or ``"all"``, -> distances in millimetres.
        medians: picture -> its own median, to find the worst.
    """

    pooled: dict[str, PooledDistance] = field(default_factory=dict)
    medians: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, challenge: str, distances: Array) -> None:
        """Add one picture."""
        values = torch.from_numpy(distances)
        for group in (ALL, challenge):
            self.pooled.setdefault(group, PooledDistance()).update(values)
        self.medians[name] = float(np.median(distances))

    def compare_with(self, group: str, distances: Array) -> None:
        """Add one picture's distances to a group of their own that is not part of ``"all"``, such as a baseline."""
        self.pooled.setdefault(group, PooledDistance()).update(torch.from_numpy(distances))

    def summary(self) -> dict[str, dict[str, float]]:
        """Return challenge -> median, mean, std in millimetres and the number of vertices."""
        table = {}
        for group, metric in self.pooled.items():
            median, mean, std = metric.compute().tolist()
            table[group] = {
                "median": round(median, 3), "mean": round(mean, 3), "std": round(std, 3), "vertices": metric.count,
            }  # fmt: skip
        return table


@dataclass(frozen=True)
class NeutralHead:
    """What is compared with a scan: ``vertices`` (V, 3) metres, ``faces`` (F, 3), ``landmarks`` (7, 3)."""

    vertices: Array
    faces: np.ndarray
    landmarks: Array


def neutral_head(face: Face) -> NeutralHead:
    """Return a face's head without expression, jaw and pose, which the scans do not have either.

    Raises:
        InputError: the model that predicted the face estimates no identity.
    """
    if face.params is None or face.params.identity is None:
        raise InputError("the NoW benchmark compares heads; this model estimates none.")
    head: HeadModel = face.head if face.head is not None else load_head(face.head_id)
    identity = face.params.identity.to(head.v_template)
    vertices = head(HeadParams(identity=identity)).vertices
    name, skipped = ("ibug68", 0) if "ibug68" in head.topology.landmarks else ("ibug51", 17)
    points = head.landmarks(vertices, name)[0, [i - skipped for i in SEVEN]]
    faces = head.topology.faces.cpu().numpy()
    return NeutralHead(vertices[0].double().cpu().numpy(), faces, points.double().cpu().numpy())


def export_prediction(folder: Path, name: str, head: NeutralHead) -> Path:
    """Write what the benchmark's own program reads: ``<name>.obj`` without colours, and ``<name>.npy`` (7, 3)."""
    buffer = io.BytesIO()
    np.save(buffer, head.landmarks)
    write_bytes(folder / f"{name}.npy", buffer.getvalue())
    return write_mesh(folder / f"{name}.obj", Mesh(head.vertices.astype(np.float32), head.faces))


def evaluate_now(
    model: FaceModel,
    benchmark: NowBenchmark,
    *,
    predictions: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> NowResult:
    """Run the benchmark.

    Args:
        model: any model that estimates a head.
        benchmark: a split; without scans (test) nothing is measured.
        predictions: where to export heads for the benchmark's own program; needed for the test split.
        say: told the progress.

    Raises:
        InputError: the test split without ``predictions``, or a model without a head.
        AssetError: files of the benchmark are missing.
    """
    measured = benchmark.split != "test"
    if not measured and predictions is None:
        raise InputError(
            "the test split has no scans: add out=DIR to export predictions that can be sent in."
        )
    result = NowResult()
    order = sorted(range(len(benchmark)), key=lambda i: benchmark.names[i])  # a scan is read once a subject
    for done, index in enumerate(order, start=1):
        picture = benchmark[index]
        head = neutral_head(predict_boxed(model, picture))
        if predictions is not None:
            export_prediction(predictions, picture.name, head)
        if measured:
            error = compare(head, benchmark.scan(picture.subject))
            result.add(picture.name, picture.challenge, error)
            say(f"{done}/{len(order)} {picture.name}: median {np.median(error):.2f} mm")
        else:
            say(f"{done}/{len(order)} {picture.name}")
    return result


def measure_scans(items: Iterable[tuple[str, str, NeutralHead, Scan]]) -> NowResult:
    """Measure heads that are there already: (name, challenge, head, scan) each."""
    result = NowResult()
    for name, challenge, head, scan in items:
        result.add(name, challenge, compare(head, scan))
    return result


def compare(head: NeutralHead, scan: Scan) -> Array:
    """Return the distances (N,) in millimetres of one head and one scan, the scale left free."""
    return scan_error(scan.vertices, scan.landmarks, head.vertices, head.faces, head.landmarks).distances


def predict_boxed(model: FaceModel, picture: NowPicture) -> Face:
    """Predict the face in the benchmark's box, looking again where the landmarks say it is.

    Raises:
        AssetError: the box is none.
    """
    box: Any = torch.tensor(picture.box)
    if not bool((box[2:] > box[:2]).all()):
        raise AssetError(f"{picture.name}: the benchmark's box {picture.box} is empty.")
    for look in range(_LOOKS):
        face = model.predict(picture.path, boxes=box, fit=look == _LOOKS - 1)[0]
        box = tight_box(face.landmarks["ibug68"].float().cpu())
    return face
