"""Fitting as frames come: no frame sees the future, and a frame takes the time it is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.data.video import Frame
from facezoo.fitting import Motion, Prior, SequenceState, SharedPrior, fit_sequence
from facezoo.fitting.sequence_start import project_rotation
from facezoo.geometry.camera import Camera
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams
from facezoo.tracking.budget import Budget
from facezoo.tracking.observe import Row, fitted_columns
from facezoo.tracking.options import SolveOptions, intrinsics, knowledge
from facezoo.tracking.people import FollowerState
from facezoo.tracking.track import posed_face
from facezoo.types import Face

FIRST_STEPS = 20  # for a face of which nothing is known
_BLIND_STEPS = 1  # for a frame in which it was not seen: only the motion says something
Seen = tuple[Tensor, Tensor]  # points (N, 2) and sigma (N,), pixels


class FittedRow(NamedTuple):
    """One frame of a person: parameters with one row, R (3, 3), t (3,), K (3, 3), rms () pixels."""

    params: HeadParams
    R: Tensor
    t: Tensor
    K: Tensor
    rms: Tensor


class OnlineFit:
    """A sliding window over one person's frames, of which the newest is kept.

    A frame that leaves the window leaves behind what it told of shape and focal length, by a window's share of its
    information.

    Args:
        head: the head.
        ids: (N,) its vertices that the points belong to.
        K: (3, 3) assumed intrinsics.
        motion: temporal term with the video's rate, or None.
        options: how.

    Attributes:
        rows: one a frame since the first.
        last: number of the newest frame.
    """

    def __init__(
        self, head: HeadModel, ids: Tensor, K: Tensor, motion: Motion | None, options: SolveOptions
    ) -> None:
        self.head, self.ids, self.K, self.motion, self.options = head, ids, K, motion, options
        self.rows: list[FittedRow] = []
        self.last = -1
        self._window: list[Seen | None] = []
        self._known: SharedPrior | None = None
        self._state: SequenceState | None = None

    def cut(self) -> None:
        """Forget the pose: another scene begins."""
        self._window, self._state = [], None

    def catch_up(self, frame: int) -> None:
        """Fill in frames before ``frame`` in which the face was not seen."""
        while self.rows and self.last < frame - 1:
            self.step(self.last + 1, None, _BLIND_STEPS)

    def step(self, frame: int, seen: Seen | None, steps: int = 0) -> int:
        """Fit a frame.

        Args:
            frame: its number, one after the last.
            seen: what the network saw; None fills in. The first frame is seen.
            steps: to take; 0 as many as the options say. A face of which nothing is known takes more.

        Returns:
            Steps allowed; 0 where nothing was fitted.
        """
        self.last = frame
        recent = [*self._window, seen][-self.options.window :]
        if all(entry is None for entry in recent):
            self.cut()  # nothing seen for a whole window: stay, and look anew when it is back
            recent = []
        if self._state is None and seen is None:
            self.rows.append(self.rows[-1]._replace(rms=self.rows[-1].rms.new_tensor(torch.nan)))
            return 0
        init, iterations = None, FIRST_STEPS
        if self._state is None:
            recent = [seen]
        else:
            init, iterations = _advance(self._state, len(recent) - 1), steps or self.options.steps
        points = torch.full((1, len(recent), len(self.ids), 2), torch.nan)
        sigma = torch.ones(points.shape[:3])
        for row, entry in enumerate(recent):
            if entry is not None:
                points[0, row], sigma[0, row] = entry
        fit = fit_sequence(
            self.head,
            points,
            sigma,
            self.ids,
            self.K[None],
            init=init,
            prior=Prior(weight=self.options.prior_weight),
            motion=self.motion,
            known=self._known,
            focal=self.options.focal,
            iterations=iterations,
        )
        self.rows.append(FittedRow(fit.params[-1], fit.R[-1], fit.t[-1], fit.K[0], fit.rms[0, -1]))
        self._window, self._state = recent, fit.state
        if len(recent) == self.options.window or init is None:
            self._known = knowledge(fit, self.head, self.options, self._known, share=1 / len(recent))
        return iterations


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


@dataclass
class Online:
    """Everybody's :class:`OnlineFit`, frame after frame.

    Attributes:
        head: the head.
        fps: frames a second.
        options: how heads are fitted.
        K: (3, 3) intrinsics, or a focal length in pixels; None takes the picture's diagonal.
        budget: of time, or None.
        each: called with every frame and its faces, those filled in included.
        fits: by number of the person.
    """

    head: HeadModel
    fps: float
    options: SolveOptions
    K: Tensor | float | None = None
    budget: Budget | None = None
    each: Callable[[Frame, list[Face]], None] | None = None

    def __post_init__(self) -> None:
        self.fits: dict[int, OnlineFit] = {}
        self._columns: tuple[NDArray[np.bool_], Tensor] | None = None

    def begin(self) -> None:
        """Begin a frame: its time runs."""
        if self.budget is not None:
            self.budget.begin()

    def replay(self, arrays: dict[str, NDArray[Any]], size: tuple[int, int]) -> None:
        """Fit stored observations of earlier frames, with the steps they were granted."""
        for row in range(len(arrays.get("frames", ()))):
            self._see({name: values[row] for name, values in arrays.items()}, size)

    def frame(self, frame: Frame, rows: list[Row], state: FollowerState) -> None:
        """Fit the newest frame.

        Args:
            frame: the frame.
            rows: what was seen of each person; their ``steps`` are set to what a budget grants.
            state: the follower's, for who is waited for.
        """
        size = frame.image.size
        for done, row in enumerate(rows):
            if self.budget is not None:
                row["steps"] = self.budget.steps(self.options.steps, len(rows) - done)
            began = time.perf_counter()
            taken = self._see(row, size)
            if self.budget is not None and taken:
                self.budget.steps_took(time.perf_counter() - began, taken)
        for person in state.people:
            if person.number in self.fits:
                self.fits[person.number].catch_up(frame.number + 1)
        if self.each is not None:
            waiting = {person.number for person in state.people}
            here = [n for n in sorted(self.fits) if n in waiting and self.fits[n].rows]
            seen = {int(row["number"]) for row in rows}
            self.each(frame, [self._face(n, size, n in seen) for n in here])
        if self.budget is not None:
            self.budget.end()

    def _see(self, row: Row, size: tuple[int, int]) -> int:
        """Fit one person's face in one frame; return the steps allowed."""
        if self._columns is None:
            self._columns = fitted_columns(self.head, row["points"].shape[0], self.options.subset)
        columns, ids = self._columns
        fit = self.fits.get(int(row["number"]))
        if fit is None:
            K = intrinsics(self.K, size)
            motion = self.options.motion_at(self.fps)
            fit = self.fits[int(row["number"])] = OnlineFit(self.head, ids, K, motion, self.options)
        fit.catch_up(int(row["frames"]))
        seen = torch.from_numpy(row["points"][columns]), torch.from_numpy(row["sigma"][columns])
        return fit.step(int(row["frames"]), seen, int(row["steps"]))

    def _face(self, number: int, size: tuple[int, int], seen: bool) -> Face:
        last = self.fits[number].rows[-1]
        camera = Camera(last.K, last.R, last.t, size)
        return posed_face(self.head, last.params, camera, number, seen=seen)
