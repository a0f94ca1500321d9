"""What tracks are good for downstream: lips that shut, and a skull that the stabilizer holds still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from facezoo.evaluation.tracking_clips import Clip
from facezoo.evaluation.tracking_ways import Way
from facezoo.geometry.procrustes import align
from facezoo.geometry.rotations import geodesic_angle
from facezoo.heads.model import HeadModel
from facezoo.models.stabilizer.regions import regions

if TYPE_CHECKING:
    from facezoo.models.stabilizer.predict import SkullStabilizer

_MIDDLE = 3  # points each side of the mouth's middle that lip distance is the mean of
_INNER = ((61, 67), (62, 66), (63, 65))  # of the 68 points, upper and lower inner lip
_NASION, _CHIN = 27, 8


def lip_distance(head: HeadModel, vertices: Tensor, *, rims: bool = True) -> Tensor:
    """Return how far the lips are apart at the middle of the mouth, millimetres, zero where they touch or overlap.

    Along the line from chin to nasion, between the rims of the mouth where the head names them (the open head), else
    between the inner points of the 68, which lie some millimetres from the rims.

    Args:
        head: the head.
        vertices: (T, V, 3) metres; moved rigidly or not.
        rims: use the rims if there are some.

    Returns:
        (T,).
    """
    points = head.landmarks(vertices, "ibug68")
    up = normalize(points[:, _NASION] - points[:, _CHIN], dim=1)
    pair = _rims(head) if rims else None
    if pair is not None:
        apart = vertices[:, pair[0]] - vertices[:, pair[1]]
    else:
        upper, lower = zip(*_INNER, strict=True)
        apart = points[:, list(upper)] - points[:, list(lower)]
    return 1e3 * (apart * up[:, None]).sum(2).mean(1).clamp(min=0)


def _rims(head: HeadModel) -> tuple[Tensor, Tensor] | None:
    """Return vertices of the upper and the lower lip that meet when the mouth is shut."""
    parts = head.meta.get("parts")
    if not parts or not {"part", "ring", "index"} <= set(head.extra) or "mouth" not in parts:
        return None
    part, ring, index = (np.asarray(head.extra[name]) for name in ("part", "ring", "index"))
    loop = np.flatnonzero((part == parts.index("mouth")) & (ring == 0))
    rim = torch.from_numpy(loop[np.argsort(index[loop])])
    half = len(rim) // 2
    upper, lower = rim[1:half], rim[half + 1 :].flip(0)
    middle = slice(half // 2 - 1 - _MIDDLE, half // 2 + _MIDDLE)
    return upper[middle], lower[middle]


def lip_errors(clip: Clip, way: Way, valid: Tensor) -> dict[str, float]:
    """Return the mean error of the lip distance in mm: ``closure`` where the lips are truly shut, ``lips`` everywhere.

    Empty where the truth does not say, ``closure`` absent where no valid frame is shut.
    """
    if clip.closed is None or clip.head is None:
        return {}
    rims = _rims(way.head) is not None  # measure both heads alike
    true = lip_distance(clip.head, clip.truth.vertices, rims=rims)
    miss = (lip_distance(way.head, way.shape, rims=rims) - true).abs()
    out = {"lips": float(miss[valid].mean())}
    shut = valid & clip.closed
    if bool(shut.any()):
        out["closure"] = float(miss[shut].mean())
    return out


def skull_errors(clip: Clip, way: Way, valid: Tensor, stabilizer: SkullStabilizer) -> dict[str, float]:
    """Hold the skull of a track still, and see how far the true head is turned by what was found.

    Empty for tracks without metric motion. Distances would not do for the true head: how far away a head is, one camera
    hardly tells, and that is an error of the track.

    Returns:
        ``moves_mm`` and ``held_mm``: how far the track's cranium stands off the reference frame's, before and after,
        mean over frames and points. ``turns_deg`` and ``left_deg``: how far the true head is turned from the reference
        frame, before and after it is turned by what the stabilizer found on the track; mean over frames.
    """
    head = stabilizer.head
    if way.surface.K is None or way.head.head_id != head.head_id or clip.head is None:
        return {}
    rows = valid.nonzero()[:, 0]
    found = stabilizer.stabilize(way.shape[rows])
    assert found.reference is not None
    skull = regions(head).cranium

    def motion(frames: Tensor) -> float:
        return 1e3 * float((frames[:, skull] - frames[found.reference][skull]).norm(dim=2).mean())

    truth = clip.truth.vertices[rows][:, skull].double()
    turned = align(truth, truth[found.reference].expand_as(truth), scale=False).R
    none = torch.eye(3, dtype=torch.float64).expand_as(turned)
    return {
        "moves_mm": motion(way.shape[rows]),
        "held_mm": motion(found.vertices),
        "turns_deg": float(torch.rad2deg(geodesic_angle(turned, none)).mean()),
        "left_deg": float(torch.rad2deg(geodesic_angle(turned, found.transforms.R.double())).mean()),
    }
