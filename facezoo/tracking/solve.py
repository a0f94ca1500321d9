"""The second pass: one head through all frames of a person, jointly (offline) or causally (online)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting import Motion, Prior, SequenceFit, SequenceState, SharedPrior, fit_sequence
from facezoo.fitting.sequence_start import project_rotation
from facezoo.geometry.camera import Camera
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams
from facezoo.tracking.observe import Observations, dense_vertices
from facezoo.tracking.track import PersonTrack

_FIRST_STEPS = 20  # for a face of which nothing is known


@dataclass(frozen=True)
class SolveOptions:
    """How the head is fitted to a person's landmarks.

    Attributes:
        mode: ``"offline"`` sees all frames at once; ``"online"`` only the past, a few steps a frame.
        subset: fit this named subset of the landmarks: faster, hardly worse.
        focal: ``"estimate"`` the focal length, or keep the assumed one (or ``K``) ``"fixed"``.
        motion: temporal term; its ``fps`` is set to the video's. None leaves it out.
        prior_weight: the landmarks' errors at neighbouring points move together: so many tell as much as one.
        joint: frames solved together at most; what one stretch told of the shape is passed on to the next.
        window, steps: online: frames kept open, and steps a frame.
    """

    mode: Literal["offline", "online"] = "offline"
    subset: int = 403
    focal: Literal["fixed", "estimate"] = "estimate"
    motion: Motion | None = field(default_factory=Motion)
    prior_weight: float = 20.0
    joint: int = 1000
    window: int = 4
    steps: int = 3

    def __post_init__(self) -> None:
        if self.mode not in ("offline", "online") or self.focal not in ("fixed", "estimate"):
            raise InputError(f"mode is 'offline' or 'online' and focal 'fixed' or 'estimate', got {self}.")
        if self.joint < 3 or self.window < 1 or self.steps < 1:
            raise InputError("joint must be at least 3, window and steps at least 1.")


class Timeline:
    """A person's observations on frames without gaps: points of frames not seen have no weight."""

    def __init__(self, seen: Observations, head: HeadModel, subset: int) -> None:
        self.frames = np.concatenate(
            [
                np.arange(seen.frames[rows].min(), seen.frames[rows].max() + 1)
                for rows in (seen.segment == s for s in np.unique(seen.segment))
            ]
        )
        at = np.searchsorted(self.frames, seen.frames)
        self.seen = np.zeros(len(self.frames), bool)
        self.seen[at] = True
        # a frame between two of a segment belongs to it
        self.segment = seen.segment[np.searchsorted(seen.frames, self.frames, side="right") - 1]
        ids = dense_vertices(head, seen.points.shape[1])
        inside = torch.ones(len(ids), dtype=torch.bool)
        if subset in head.topology.subsets:
            chosen = torch.isin(ids, head.topology.subset(subset).cpu())
            inside = chosen if bool(chosen.any()) else inside
        self.vertex_ids, self.all_ids = ids[inside], ids
        columns = inside.numpy()
        shape = (len(self.frames), int(columns.sum()))
        points, sigma = np.full((*shape, 2), np.nan, np.float32), np.ones(shape, np.float32)
        points[at], sigma[at] = seen.points[:, columns], seen.sigma[:, columns]
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
    K: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PersonTrack:
    """Fit a head to everything seen of a person.

    Args:
        seen: the observations.
        head: whose vertices the landmarks are.
        image_size: (height, width).
        fps: frames a second.
        options: how.
        K: (3, 3) intrinsics; default a focal length of the picture's diagonal.
        progress: called with frames done and frames in all.
    """
    line = Timeline(seen, head, options.subset)
    motion = None if options.motion is None else replace(options.motion, fps=fps)
    start = Camera.default_K(*image_size) if K is None else K.float()
    solver = _online if options.mode == "online" else _offline
    parts = solver(line, head, start, motion, options, progress)
    identity, expression, jaw = [], [], []
    for fit, rows in parts:
        p = fit.params
        assert p.identity is not None and p.expression is not None and p.jaw is not None
        expression.append(p.expression[rows])
        jaw.append(p.jaw[rows])
        identity.append(p.identity.expand(len(jaw[-1]), -1))
    # Expressions belong to the shape that they were found with.
    shape = torch.cat(identity) if len(parts) > 1 else identity[0][:1]
    return PersonTrack(
        number=seen.number,
        frames=line.frames,
        seen=line.seen,
        segment=line.segment,
        params=HeadParams(identity=shape, expression=torch.cat(expression), jaw=torch.cat(jaw)),
        R=torch.cat([fit.R[rows] for fit, rows in parts]),
        t=torch.cat([fit.t[rows] for fit, rows in parts]),
        K=torch.cat([fit.K.expand(len(fit.t[rows]), 3, 3) for fit, rows in parts]),
        rms=torch.cat([fit.rms[0, rows] for fit, rows in parts]),
        image_size=image_size,
        fps=fps,
        observations=seen,
        vertex_ids=line.all_ids,
        head=head,
        converged=all(fit.converged for fit, _ in parts) or options.mode == "online",
    )


def _fit(
    line: Timeline,
    rows: slice,
    head: HeadModel,
    K: Tensor,
    motion: Motion | None,
    options: SolveOptions,
    known: SharedPrior | None,
    init: SequenceState | None = None,
    iterations: int = 30,
) -> SequenceFit:
    return fit_sequence(
        head,
        line.points[None, rows],
        line.sigma[None, rows],
        line.vertex_ids,
        K[None],
        segment=torch.from_numpy(line.segment[rows]),
        init=init,
        prior=Prior(weight=options.prior_weight),
        motion=motion,
        known=known,
        focal=options.focal,
        iterations=iterations,
    )


def _offline(
    line: Timeline,
    head: HeadModel,
    K: Tensor,
    motion: Motion | None,
    options: SolveOptions,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[SequenceFit, slice]]:
    """Solve stretches of frames; each knows the shape as those before it saw it."""
    parts: list[tuple[SequenceFit, slice]] = []
    known: SharedPrior | None = None
    count = -(-len(line) // options.joint)
    edges = [round(i * len(line) / count) for i in range(count + 1)]
    for first, last in pairwise(edges):
        if not line.seen[first:last].any():
            raise InputError(
                f"frames {line.frames[first]}-{line.frames[last - 1]} show nothing of this person."
            )
        fit = _fit(line, slice(first, last), head, K, motion, options, known)
        parts.append((fit, slice(None)))
        known = _knowledge(fit, head, options, known)
        if progress is not None:
            progress(last, len(line))
    return parts


def _online(
    line: Timeline,
    head: HeadModel,
    K: Tensor,
    motion: Motion | None,
    options: SolveOptions,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[SequenceFit, slice]]:
    """Solve a sliding window and keep the newest frame of each: no frame sees the future.

    A frame that leaves the window leaves behind what it told of the shape, by a window's share of its information.
    """
    parts: list[tuple[SequenceFit, slice]] = []
    known: SharedPrior | None = None
    state: SequenceState | None = None
    for last in range(1, len(line) + 1):
        first = max(0, last - options.window)
        if last >= 2 and line.segment[last - 1] != line.segment[last - 2]:
            state = None  # a new scene: nothing is known of the pose
        if parts and not line.seen[first:last].any():
            state = None  # nothing seen for a whole window: stay, and look anew when it is back
        if state is None and not line.seen[last - 1]:
            parts.append(parts[-1])
            continue
        if state is None:
            first, init, iterations = last - 1, None, _FIRST_STEPS
        else:
            first = max(first, last - 1 - len(state.t))
            init, iterations = _advance(state, keep=last - first - 1), options.steps
        fit = _fit(line, slice(first, last), head, K, motion, options, known, init, iterations)
        parts.append((fit, slice(-1, None)))
        state = fit.state
        if last - first == options.window or init is None:
            known = _knowledge(fit, head, options, known, share=1 / (last - first))
        if progress is not None:
            progress(last, len(line))
    return parts


def _advance(state: SequenceState, keep: int) -> SequenceState:
    """Return the last ``keep`` frames of a state and one more, where the last two would move on to."""
    moves, R, t = state.moves, state.R, state.t
    if len(t) > 1:
        turn, shift = R[-1] @ R[-2].mT, t[-1] - t[-2]
    else:
        turn, shift = torch.eye(3).to(R), torch.zeros_like(t[-1])
    keep = min(keep, len(t))
    return state._replace(
        moves=torch.cat((moves[len(t) - keep :], moves[-1:])),
        # made orthonormal: rounding errors of a product of the last three would double with every frame
        R=torch.cat((R[len(t) - keep :], project_rotation(turn @ R[-1])[None])),
        t=torch.cat((t[len(t) - keep :], (t[-1] + shift)[None])),
    )


def _knowledge(
    fit: SequenceFit, head: HeadModel, options: SolveOptions, before: SharedPrior | None, share: float = 1.0
) -> SharedPrior:
    """Return what all frames so far told of identity and focal length, centred on the estimate they gave.

    The Schur complement holds the priors as well; they are taken out, as the next fit brings them again.
    """
    assert fit.params.identity is not None
    identity = fit.params.identity[0].double()
    own = options.prior_weight / head.params["identity"].sigma[: len(identity)].double().square()
    mean = identity
    if options.focal == "estimate":
        own = torch.cat((own, own.new_tensor([options.prior_weight / Prior().focal_sigma ** 2])))
        mean = torch.cat((identity, fit.state.log_focal.double()))
    fresh = fit.shared_precision.double() - torch.diag(own)
    old = torch.zeros_like(fresh)
    if before is not None:
        old = before.precision
        fresh = fresh - old
    values, vectors = torch.linalg.eigh(fresh)
    fresh = (vectors * values.clamp(min=0)) @ vectors.mT
    return SharedPrior(mean, old + share * fresh)
