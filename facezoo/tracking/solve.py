"""The second pass: one head through all frames of a person, seen by one camera or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting import Prior, SequenceFit, SharedPrior, fit_sequence
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams
from facezoo.tracking.observe import Observations, dense_vertices, fitted_columns
from facezoo.tracking.online import FittedRow, OnlineFit
from facezoo.tracking.options import SolveOptions, intrinsics, knowledge
from facezoo.tracking.track import PersonTrack

__all__ = ["SolveOptions", "Timeline", "from_rows", "solve_jointly", "solve_person"]
Report = Callable[[int, int], None]


class Timeline:
    """A person's observations on frames without gaps: points of frames not seen have no weight.

    Args:
        views: what each of C cameras saw; a camera may have seen nothing.
        head: the head.
        subset: of the landmarks to fit.

    Attributes:
        frames: (T,). segment: (T,). seen: (C, T).
        points: (C, T, N, 2), NaN where not seen. sigma: (C, T, N).
        vertex_ids: (N,).
    """

    def __init__(self, views: Sequence[Observations], head: HeadModel, subset: int) -> None:
        numbers = np.concatenate([seen.frames for seen in views])
        scenes = np.concatenate([seen.segment for seen in views])
        if not len(numbers):
            raise InputError("no camera saw this person.")
        spans = [numbers[scenes == scene] for scene in np.unique(scenes)]
        self.frames = np.concatenate([np.arange(span.min(), span.max() + 1) for span in spans])
        # a frame between two of a segment belongs to it
        order = np.argsort(numbers, kind="stable")
        self.segment = scenes[order][np.searchsorted(numbers[order], self.frames, side="right") - 1]
        columns, self.vertex_ids = fitted_columns(
            head, next(v.points.shape[1] for v in views if len(v)), subset
        )
        shape = (len(views), len(self.frames), int(columns.sum()))
        self.seen = np.zeros(shape[:2], bool)
        points, sigma = np.full((*shape, 2), np.nan, np.float32), np.ones(shape, np.float32)
        for row, view in enumerate(views):
            if len(view):
                at = np.searchsorted(self.frames, view.frames)
                self.seen[row, at] = True
                points[row, at], sigma[row, at] = view.points[:, columns], view.sigma[:, columns]
        self.points, self.sigma = torch.from_numpy(points), torch.from_numpy(sigma)

    def __len__(self) -> int:
        return len(self.frames)


def solve_person(
    seen: Observations,
    head: HeadModel,
    image_size: tuple[int, int],
    fps: float,
    options: SolveOptions,
    *,
    K: Tensor | float | None = None,
    progress: Report | None = None,
) -> PersonTrack:
    """Fit a head to everything one camera saw of a person.

    Args:
        seen: the observations.
        head: whose vertices the landmarks are.
        image_size: (height, width).
        fps: frames a second.
        options: how.
        K: (3, 3) intrinsics, or a focal length in pixels; default the picture's diagonal.
        progress: called with frames done and frames in all.
    """
    start = intrinsics(K, image_size)
    line = Timeline([seen], head, options.subset)
    if options.mode == "online":
        fit = _online(line, seen, head, start, fps, options, progress)
        return from_rows(fit.rows, seen, head, image_size, fps)
    parts = solve_jointly(line, head, start[None], None, fps, options, progress)
    rows = [FittedRow(fit.params, fit.R, fit.t, fit.K[0].expand(len(fit), 3, 3), fit.rms[0]) for fit in parts]
    converged = all(fit.converged for fit in parts)
    return _person(line, rows, seen, head, image_size, fps, converged)


def from_rows(
    rows: Sequence[FittedRow], seen: Observations, head: HeadModel, image_size: tuple[int, int], fps: float
) -> PersonTrack:
    """Return the track that an online fit made of a person; rows after it was last seen are dropped."""
    line = Timeline([seen], head, subset=0)
    stacked = [
        FittedRow(row.params, row.R[None], row.t[None], row.K[None], row.rms[None])
        for row in rows[: len(line)]
    ]
    return _person(line, stacked, seen, head, image_size, fps, converged=True)


def _person(
    line: Timeline,
    parts: Sequence[FittedRow],
    seen: Observations,
    head: HeadModel,
    image_size: tuple[int, int],
    fps: float,
    converged: bool,
) -> PersonTrack:
    """Join stretches, or single rows, whose tensors begin with their frames."""
    return PersonTrack(
        number=seen.number,
        frames=line.frames,
        seen=line.seen[0],
        segment=line.segment,
        params=join_params([part.params for part in parts], [len(part.R) for part in parts]),
        R=torch.cat([part.R for part in parts]),
        t=torch.cat([part.t for part in parts]),
        K=torch.cat([part.K for part in parts]),
        rms=torch.cat([part.rms for part in parts]),
        image_size=image_size,
        fps=fps,
        observations=seen,
        vertex_ids=dense_vertices(head, seen.points.shape[1]),
        head=head,
        converged=converged,
    )


def join_params(parts: Sequence[HeadParams], sizes: Sequence[int]) -> HeadParams:
    """Join the parameters of stretches; expressions keep the shape that they were found with."""
    if len(parts) == 1:
        return parts[0]
    spread = [
        part.map(lambda value, size=size: value.expand(size, -1))  # type: ignore[misc]
        for part, size in zip(parts, sizes, strict=True)
    ]
    return HeadParams.cat(spread)


def _online(
    line: Timeline,
    seen: Observations,
    head: HeadModel,
    K: Tensor,
    fps: float,
    options: SolveOptions,
    progress: Report | None,
) -> OnlineFit:
    """Fit frame after frame, as :class:`facezoo.tracking.online.Online` does while they come."""
    fit = OnlineFit(head, line.vertex_ids, K, options.motion_at(fps), options)
    for row, frame in enumerate(line.frames.tolist()):
        if row and line.segment[row] != line.segment[row - 1]:
            fit.cut()
            fit.last = frame - 1  # nothing to fill in between scenes
        if line.seen[0, row]:
            fit.catch_up(frame)
            granted = int(seen.steps[np.searchsorted(seen.frames, frame)])
            fit.step(frame, (line.points[0, row], line.sigma[0, row]), granted)
        else:
            fit.catch_up(frame + 1)
        if progress is not None:
            progress(row + 1, len(line))
    return fit


def solve_jointly(
    line: Timeline,
    head: HeadModel,
    K: Tensor,
    extrinsics: Tensor | None,
    fps: float,
    options: SolveOptions,
    progress: Report | None = None,
    iterations: int = 30,
) -> list[SequenceFit]:
    """Solve stretches of frames; each knows the shape as those before it saw it.

    Args:
        line: observations of C cameras.
        head: the head.
        K: (C, 3, 3).
        extrinsics: (C, 4, 4) world to camera; None to find them in the first stretch.
        fps: frames a second.
        options: how.
        progress: called with frames done and frames in all.
        iterations: most steps.
    """
    parts: list[SequenceFit] = []
    known: SharedPrior | None = None
    count = -(-len(line) // options.joint)
    edges = [round(i * len(line) / count) for i in range(count + 1)]
    for first, last in pairwise(edges):
        if not line.seen[:, first:last].any():
            raise InputError(
                f"frames {line.frames[first]}-{line.frames[last - 1]} show nothing of this person."
            )
        if parts and extrinsics is None and len(K) > 1:
            extrinsics = parts[0].extrinsics  # found in the first stretch, kept in the others

        def steps(tried: int, cost: float, first: int = first, last: int = last) -> None:
            if progress is not None:  # a step is not a frame, but the share of either is what takes time
                progress(first + (last - first) * min(tried, iterations) // iterations, len(line))

        fit = fit_sequence(
            head,
            line.points[:, first:last],
            line.sigma[:, first:last],
            line.vertex_ids,
            K,
            extrinsics=extrinsics,
            segment=torch.from_numpy(line.segment[first:last]),
            prior=Prior(weight=options.prior_weight),
            motion=options.motion_at(fps),
            known=known,
            focal=options.focal,
            iterations=iterations,
            progress=steps,
        )
        parts.append(fit)
        if last < len(line):
            known = knowledge(fit, head, options, known)
        if progress is not None:
            progress(last, len(line))
    return parts
