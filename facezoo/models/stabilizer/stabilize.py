"""Many frames: each against several anchors, rotations averaged on SO(3), a score of how well the estimates agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from scipy.signal import savgol_filter
from torch import Tensor

from facezoo.errors import InputError
from facezoo.models.stabilizer.align import align_pair
from facezoo.models.stabilizer.rigid import RigidTransform, robust_mean

if TYPE_CHECKING:
    from facezoo.models.stabilizer.module import StabilizerModel

LIMIT = 0.05  # mm of disagreement beyond which a frame is not to be trusted; good frames stay below 0.005
REST_LIMIT = 3.0  # mm that the skull's skin may be off
_STEADY = 0.2  # trust from which on a point lies on the skull
_REACH = 0.1  # metres: half a head, what an angle is worth as a distance
_BATCH = 256


@dataclass(frozen=True)
class Stabilized:
    """A sequence whose skull stands still.

    Attributes:
        vertices: (N, V, 3) the frames moved onto the reference's skull, metres.
        transforms: (N) what moved them. The inverses are the head motion that was taken out.
        consistency: (N,) mm: how far the ways from a frame over the anchors to the reference (T_ab then T_bc) and the
            direct way (T_ac) disagree; not a number where there is one way only.
        rest: (N,) mm: median distance of upper face, cranium and ears from the reference's, with expression and noise.
            Estimates of a well-trained network agree even on a bad registration; what is left of it shows here.
        trusted: (N,) False where the consistency is worse than :data:`LIMIT` or the rest than :data:`REST_LIMIT`.
        reference: the frame that stayed where it was, None if it was a mesh of its own.
        anchors: the frames that all frames were compared with.
    """

    vertices: Tensor
    transforms: RigidTransform
    consistency: Tensor
    rest: Tensor
    trusted: Tensor
    reference: int | None
    anchors: tuple[int, ...]


@torch.no_grad()
def stabilize(
    model: StabilizerModel,
    frames: Tensor,
    points: Tensor,
    reference: int | Tensor | None,
    *,
    anchors: int = 5,
    smooth: int = 0,
) -> Stabilized:
    """Hold the skull still.

    Every frame is brought to each anchor, and from there to the reference; the ways are averaged: rotations by the
    chordal mean on SO(3) with the weights of a geometric median, so that one bad anchor does no harm.

    Args:
        model: estimates transforms between pairs.
        frames: (N, V, 3) metres.
        points: (N, n, 3) the points of the frames that the model sees.
        reference: a frame, the points (n, 3) of a mesh of its own, or None for the medoid.
        anchors: number of anchors: the reference, then frames as different as possible.
        smooth: window of a Savitzky-Golay filter (order 2) over the motion, for performances of one frame rate; shorter
            than the quickest true motion of the head. 0 for none.

    Raises:
        InputError: ``anchors`` below 1, or a window that is even or too short.
    """
    if anchors < 1:
        raise InputError(f"anchors={anchors}; expected at least 1")
    if smooth and (smooth < 5 or smooth % 2 == 0):
        raise InputError(f"smooth={smooth}; expected an odd number of frames from 5 on, or 0")
    aligned = _to_first(model, points)
    if reference is None:
        reference = int((aligned - aligned.median(0).values).square().sum((1, 2)).argmin())
    number = reference if isinstance(reference, int) else None
    home = points[reference] if isinstance(reference, int) else reference
    chosen = _different(aligned, number, min(anchors, len(points)))
    places = points[chosen]
    if number is None:  # a mesh of its own is the first anchor
        places = torch.cat([home[None], places])[:anchors]
        chosen = chosen[: len(places) - 1]
    routes = _to_home(model, points, places)
    pivot = points.double().mean(1)
    found = robust_mean(routes, pivot, _REACH)
    consistency = _disagreement(routes, found, points)
    steady = model.trust > _STEADY
    off = (found.apply(points.double())[:, steady] - home.double()[steady]).norm(dim=-1)
    rest = 1e3 * off.median(1).values.float().cpu()
    if smooth and len(points) > smooth:
        found = _smoothed(found, smooth)
    found = found.to("cpu")
    if number is not None:  # the reference stays where it is
        found = found[number].inverse() @ found
    moved = torch.stack([found[i].apply(frame) for i, frame in enumerate(frames)])
    consistency = consistency.cpu()
    trusted = ~((consistency > LIMIT) | (rest > REST_LIMIT))
    return Stabilized(moved, found.to(torch.float32), consistency, rest, trusted, number, tuple(chosen))


def _to_home(model: StabilizerModel, points: Tensor, places: Tensor) -> RigidTransform:
    """Return the transforms (K, N) of all frames to the first anchor, each by way of one anchor."""
    count = len(places)
    to_anchors = [_between(model, points, place).to(torch.float64) for place in places]
    pivot = places.double().mean(1)
    # From each anchor home, over every other anchor.
    hops = [_between(model, places, place).to(torch.float64) for place in places]
    home = robust_mean(RigidTransform.stack([_at(hops[0], k) @ hops[k] for k in range(count)]), pivot, _REACH)
    return RigidTransform.stack([_at(home, k) @ to_anchors[k] if k else to_anchors[0] for k in range(count)])


def _at(transforms: RigidTransform, index: int) -> RigidTransform:
    """Return one of several as a batch of one, for broadcasting."""
    return transforms[index : index + 1]


def _between(model: StabilizerModel, sources: Tensor, target: Tensor) -> RigidTransform:
    parts = [model.between(p, target[None].expand(len(p), -1, -1)) for p in sources.split(_BATCH)]
    return RigidTransform(torch.cat([p.R for p in parts]), torch.cat([p.t for p in parts]))


def _to_first(model: StabilizerModel, points: Tensor) -> Tensor:
    """Return the frames (N, n, 3) as Procrustes lays them onto the first one."""
    pair = align_pair(points[:1].expand_as(points), points, model.template, model.trust, symmetric=False)
    return pair.source


def _different(aligned: Tensor, first: int | None, count: int) -> list[int]:
    """Choose frames by farthest-point sampling, beginning with one of them, or with the one nearest to the median."""
    if first is None:
        first = int((aligned - aligned.median(0).values).square().sum((1, 2)).argmin())
    chosen = [first]
    nearest = torch.full((len(aligned),), float("inf"), device=aligned.device)
    while len(chosen) < count:
        nearest = torch.minimum(nearest, (aligned - aligned[chosen[-1]]).square().sum((1, 2)))
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


def _disagreement(routes: RigidTransform, found: RigidTransform, points: Tensor) -> Tensor:
    """Return the mean distance in mm (N,) between where single routes and their average bring the points."""
    if len(routes.R) < 2:
        return torch.full((len(points),), float("nan"))
    x = points.double()
    apart = (x @ (routes.R - found.R).mT + (routes.t - found.t)[:, :, None]).norm(dim=-1)  # (K, N, n)
    return 1e3 * apart.mean(-1).sum(0).div(len(apart) - 1).float()


def _smoothed(found: RigidTransform, window: int) -> RigidTransform:
    """Smooth the twists of the transforms along time."""
    twists = found.log().cpu().numpy()
    return RigidTransform.exp(torch.from_numpy(savgol_filter(twists, window, 2, axis=0)).to(found.R))
