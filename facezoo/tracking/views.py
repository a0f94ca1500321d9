"""One track from several cameras: who is who across them, then one joint fit a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting import SequenceFit
from facezoo.heads.model import HeadModel
from facezoo.tracking.observe import FIELDS, Observations, dense_vertices
from facezoo.tracking.options import SolveOptions, intrinsics
from facezoo.tracking.rig import Rig
from facezoo.tracking.solve import Report, Timeline, join_params, solve_jointly
from facezoo.tracking.track import PersonTrack, View

Group = dict[int, Observations]  # by view
_FRAMES = 6  # that two views of a person are compared on
_STEPS = 15
_WORSE = (
    3.0  # a pair whose joint fit is worse than its single fits by this factor, and a pixel, is not one person
)


def solve_views(
    seen: Sequence[Sequence[Observations]],
    rig: Rig,
    sizes: Sequence[tuple[int, int]],
    head: HeadModel,
    fps: float,
    options: SolveOptions,
    progress: Report | None = None,
) -> list[PersonTrack]:
    """Pair the people of C cameras and fit each to all that all cameras saw of it.

    A pair is one person if one head explains both views: with a calibration because rays meet, without because faces
    move alike. Without a calibration the person whom most cameras saw longest finds the cameras; the others use them.

    Args:
        seen: people of each camera.
        rig: the cameras.
        sizes: (height, width) of each camera's frames.
        head: the head.
        fps: of all cameras, whose frames with the same number were taken at the same time.
        options: offline.
        progress: called with frames done and frames in all.

    Raises:
        InputError: without a calibration, two cameras have nobody in common.
    """
    start = torch.stack([intrinsics(None, size) for size in sizes]) if rig.K is None else rig.K.float()
    rig = rig._replace(K=start)
    calibrated = rig.extrinsics is not None
    options = replace(options, focal="fixed") if calibrated else options
    groups = group_people(seen, rig, head, fps, options)
    groups.sort(key=lambda group: (len(group), sum(len(part) for part in group.values())), reverse=True)
    if groups and not calibrated and len(groups[0]) < len(seen):
        missing = next(rig.names[view] for view in range(len(seen)) if view not in groups[0])
        raise InputError(
            f"camera {missing} has nobody in common with the others, so its place is unknown; give --cameras FILE."
        )
    total = sum(max(len(part) for part in group.values()) for group in groups)
    done, people = 0, []
    for group in groups:
        views = sorted(group)
        line = Timeline([group[view] for view in views], head, options.subset)
        K, extrinsics = _rows(rig, views)
        fits = solve_jointly(line, head, K, extrinsics, fps, options)
        if rig.extrinsics is None:  # the first person found the cameras
            rig = rig._replace(K=fits[0].K, extrinsics=fits[0].extrinsics)
            options = replace(options, focal="fixed")
        people.append(_person(group, line, views, fits, rig, sizes, head, fps))
        done += max(len(part) for part in group.values())
        if progress is not None:
            progress(done, total)
    people.sort(key=lambda person: (int(person.frames[0]), -len(person)))
    for number, person in enumerate(people):
        person.number = number
    return people


def group_people(
    seen: Sequence[Sequence[Observations]], rig: Rig, head: HeadModel, fps: float, options: SolveOptions
) -> list[Group]:
    """Pair people view by view with those of the views before."""
    groups: list[Group] = [{0: person} for person in seen[0]]
    for view in range(1, len(seen)):
        here = list(seen[view])
        cost = np.full((len(here), len(groups)), np.inf)
        for i, person in enumerate(here):
            for k, group in enumerate(groups):
                cost[i, k] = min(
                    (
                        _disagreement(other, person, (at, view), rig, head, fps, options)
                        for at, other in group.items()
                    ),
                    default=np.inf,
                )
        rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, 1e6))
        paired = {int(i): int(k) for i, k in zip(rows, columns, strict=True) if np.isfinite(cost[i, k])}
        for i, person in enumerate(here):
            if i in paired:
                groups[paired[i]][view] = person
            else:
                groups.append({view: person})
    return groups


def _disagreement(
    one: Observations,
    other: Observations,
    views: tuple[int, int],
    rig: Rig,
    head: HeadModel,
    fps: float,
    options: SolveOptions,
) -> float:
    """Return how much worse one head explains two views than two heads do, as a factor; infinite for two people."""
    both = np.intersect1d(one.frames, other.frames)
    if not len(both):
        return math.inf
    some = both[np.linspace(0, len(both) - 1, min(_FRAMES, len(both))).round().astype(int)]
    parts = [_at(seen, some) for seen in (one, other)]
    still = replace(options, motion=None, focal="fixed")
    alone = []
    for part, view in zip(parts, views, strict=True):
        K, _ = _rows(rig, [view])
        line = Timeline([part], head, options.subset)
        alone.append(_rms(solve_jointly(line, head, K, None, fps, still, iterations=_STEPS)))
    K, extrinsics = _rows(rig, list(views))
    line = Timeline(parts, head, options.subset)
    joint = _rms(solve_jointly(line, head, K, extrinsics, fps, still, iterations=_STEPS))
    single = max(sum(alone) / 2, 1e-3)
    return joint / single if joint < _WORSE * single + 1 else math.inf


def _rms(fits: Sequence[SequenceFit]) -> float:
    return float(torch.cat([fit.rms.flatten() for fit in fits]).nanmean())


def _at(seen: Observations, frames: np.ndarray) -> Observations:
    """Return some frames, numbered from 0 as if they were neighbours."""
    rows = np.searchsorted(seen.frames, frames)
    arrays = {name: getattr(seen, name)[rows] for name in FIELDS[1:]}
    arrays |= {"frames": np.arange(len(rows)), "segment": np.zeros(len(rows), np.int64)}
    return Observations(seen.number, **arrays)


def _rows(rig: Rig, views: list[int]) -> tuple[Tensor, Tensor | None]:
    assert rig.K is not None
    return rig.K[views], None if rig.extrinsics is None else rig.extrinsics[views]


def _person(
    group: Group,
    line: Timeline,
    views: list[int],
    fits: Sequence[SequenceFit],
    rig: Rig,
    sizes: Sequence[tuple[int, int]],
    head: HeadModel,
    fps: float,
) -> PersonTrack:
    """Move a fit from the world into the first camera."""
    assert rig.K is not None and rig.extrinsics is not None
    R, t = torch.cat([fit.R for fit in fits]), torch.cat([fit.t for fit in fits])
    rms = torch.cat([fit.rms for fit in fits], 1)
    first = rig.extrinsics[0].to(R)
    none = next(iter(group.values()))
    nothing = Observations(none.number, **{name: getattr(none, name)[:0] for name in FIELDS[1:]})
    everywhere = torch.full((len(rig.names), len(line)), torch.nan)
    everywhere[views] = rms.float()
    shown = tuple(
        View(name, rig.K[view], rig.extrinsics[view], sizes[view], group.get(view, nothing), everywhere[view])
        for view, name in enumerate(rig.names)
    )
    return PersonTrack(
        number=0,
        frames=line.frames,
        seen=np.asarray(line.seen.any(0)),
        segment=line.segment,
        params=join_params([fit.params for fit in fits], [len(fit) for fit in fits]),
        R=first[:3, :3] @ R,
        t=t @ first[:3, :3].mT + first[:3, 3],
        K=rig.K[0].to(R).expand(len(line), 3, 3),
        rms=rms.nanmean(0),
        image_size=sizes[0],
        fps=fps,
        observations=group.get(0, nothing),
        vertex_ids=dense_vertices(head, none.points.shape[1]),
        head=head,
        converged=all(fit.converged for fit in fits),
        views=shown,
    )
