"""The NoW measurement on synthetic people, whose neutral heads are known exactly.

One picture each, grouped by yaw and by whether something covers the face.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from facezoo.errors import InputError
from facezoo.evaluation.now import NeutralHead, NowResult, compare, neutral_head
from facezoo.evaluation.now_alignment import SEVEN
from facezoo.evaluation.now_data import Scan
from facezoo.heads import HeadModel, HeadParams
from facezoo.heads.registry import load_head
from facezoo.mesh.subdivide import subdivide
from facezoo.mesh.topology import restrict_faces
from facezoo.models.predict import FaceModel
from facezoo.synth import TEST_SEEDS
from facezoo.synth.engine import Sample, render_sample

BINS = (0.0, 30.0, 60.0, 90.0)  # degrees of yaw, either side
BASELINE = "mean head"
COVERED = (
    0.25  # share of the face in view that hair, glasses, a hand or a mask hides: from here on it is covered
)
_SIZE = 256


def scan_of(head: HeadModel, identity: np.ndarray) -> Scan:
    """Return a person's true neutral face as a scan: its skin at twice the mesh's density, millimetres."""
    vertices = head(HeadParams(identity=torch.from_numpy(identity)[None])).vertices
    landmarks = head.landmarks(vertices, "ibug68")[0, list(SEVEN)].double().numpy()
    skin = head.topology.mask("face").numpy()  # a scanner sees no eyeballs behind lids and no teeth
    finer = subdivide(restrict_faces(head.topology.faces.numpy(), skin), len(skin))
    points = np.asarray(finer.carry(vertices[0].double().numpy()[skin]), np.float64)
    return Scan(1000 * points, 1000 * landmarks)


def evaluate_synthetic(model: FaceModel, count: int) -> NowResult:
    """Predict test people from one rendered picture each, cropped at their true boxes, and measure their neutral heads.

    Beside the yaw groups, ``"bare"`` and ``"covered"`` (:data:`COVERED`), and ``"all"`` there is a group
    ``"mean head"``: what is measured when everybody is given the mean head, so that a number tells how much of a
    person was seen at all.

    Args:
        model: any model that estimates a head.
        count: test people, at most as many as there are seeds.

    Raises:
        InputError: ``count`` is not in range.
    """
    if not 1 <= count <= len(TEST_SEEDS):
        raise InputError(f"count must be between 1 and {len(TEST_SEEDS)}, got {count}.")
    head, result = load_head("open-v1"), NowResult()
    mean = _mean_head(head)
    for seed in TEST_SEEDS[:count]:
        sample = render_sample(seed, _SIZE, relief=True)  # which brings the map of bare skin
        scan = scan_of(head, sample.identity)
        face = model.predict(sample.image, boxes=torch.from_numpy(sample.box))[0]
        error = compare(neutral_head(face), scan)
        result.add(str(seed), yaw_group(sample.R), error)
        result.compare_with("covered" if covered_share(head, sample) >= COVERED else "bare", error)
        result.compare_with(BASELINE, compare(mean, scan))
    return result


def yaw_group(R: np.ndarray, bins: Sequence[float] = BINS) -> str:
    """Name the yaw group of a head-to-camera rotation (3, 3)."""
    forward = R[:, 2]  # where the face looks, in the camera's axes
    yaw = abs(float(np.degrees(np.arctan2(forward[0], -forward[2]))))
    place = min(int(np.searchsorted(bins, yaw, side="right")) - 1, len(bins) - 2)
    return f"yaw {bins[place]:.0f}-{bins[place + 1]:.0f}"


def covered_share(head: HeadModel, sample: Sample) -> float:
    """Return which share of the face's skin that is turned to the camera something covers."""
    skin = torch.zeros(head.n_vertices, dtype=torch.bool)
    skin[head.topology.mask("face")] = True
    for part in ("lips", "eye_region", "mouth_interior"):  # not skin, covered or not
        skin[head.topology.mask(part)] = False
    seen = skin[torch.as_tensor(head.topology.subsets[len(sample.points)])].numpy() & (sample.visible > 0)
    assert sample.skin is not None
    block = sample.image.shape[0] / len(sample.skin)
    column, row = np.clip(sample.points[seen] / block, 0, len(sample.skin) - 1).astype(int).T
    return float((sample.skin[row, column] < 128).mean()) if seen.any() else 1.0


def _mean_head(head: HeadModel) -> NeutralHead:
    """Return the mean of the head's two calibrated populations."""
    identity = torch.from_numpy(np.asarray(head.extra["sex_mean"], np.float32)).mean(0, keepdim=True)
    vertices = head(HeadParams(identity=identity)).vertices
    points = head.landmarks(vertices, "ibug68")[0, list(SEVEN)]
    return NeutralHead(vertices[0].double().numpy(), head.topology.faces.numpy(), points.double().numpy())
