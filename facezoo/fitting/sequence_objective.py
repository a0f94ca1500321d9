"""The cost of many frames and views in one problem, its gradient, and its Hessian as an arrowhead.

cost = ½ Σ_ct ρ(w |A_c π(R_c (R_t v_t + t_t) + t_c) - p|²) + ½ Σ priors + motion + gaze + neutral shape

Frames go through :class:`~facezoo.fitting.objective.HeadObjective` a few at a time, as faces of a batch with poses
``R_c R_t``; its blocks are moved to the unknowns of the sequence by the chain rule and added up. So neither the
Jacobian nor a full Hessian of all frames ever exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from facezoo.fitting.arrowhead import Arrowhead
from facezoo.fitting.deformation import NeutralTerm
from facezoo.fitting.jaw import small_rotation
from facezoo.fitting.motion import MotionTerm
from facezoo.fitting.objective import Evaluation, HeadObjective, Observations
from facezoo.fitting.problem import FitProblem
from facezoo.fitting.robust import Robust
from facezoo.fitting.sequence_gaze import GazeTerm, Part
from facezoo.fitting.sequence_state import SequenceState, SharedPrior
from facezoo.fitting.state import Unknowns
from facezoo.geometry.rotations import skew

_CHUNK = 32  # frames evaluated at once
_CHUNK_DEFORMED = 4  # with displacements a frame's Jacobian has thousands of columns


class Views(NamedTuple):
    """What C cameras saw in T frames.

    Attributes:
        points: (C, T, 2, N) pixels from the principal points; weight (C, T, 2, N), zero = not seen.
        focal: (C, 2, 2) upper left blocks of K.
        mean: (T, n_e + 3 or 9) prior means of expression, jaw and eyes; precision (n_e + 3 or 9,).
        identity_mean, identity_precision: (n_id,).
        focal_precision: of each logarithm of a factor.
        robust_scale: standard deviations.
    """

    points: Tensor
    weight: Tensor
    focal: Tensor
    mean: Tensor
    precision: Tensor
    identity_mean: Tensor
    identity_precision: Tensor
    focal_precision: float
    robust_scale: float


class Layout(NamedTuple):
    """Where the unknowns lie: slices of the shared part; None is what does not move.

    Attributes:
        identity: n_id. focal: C logarithms. cameras: 6 (C - 1), rotation and translation of all but the first.
        offsets: 3 N, vertex by vertex.
        shared, local: how many in all, and in a frame (expression, jaw, eyes with gaze, rotation, translation).
    """

    identity: slice
    focal: slice | None
    cameras: slice | None
    offsets: slice | None
    shared: int
    local: int


class SequenceObjective:
    """Cost, linearisation and update rule.

    Args:
        problem: head and observed vertices.
        views: observations and priors.
        focal: the focal lengths move, one factor a camera.
        cameras: extrinsics of all cameras but the first move.
        neutral: priors of the neutral shape; displacements move when it has a precision for them.
        motion: temporal term, or None.
        robust: loss of the points.
        known: what frames outside of this problem told about identity and focal lengths.
        eyes: observed eyeballs; their angles then follow the jaw's among a frame's unknowns.
        gaze: priors of these angles; given with ``eyes``.
    """

    def __init__(
        self,
        problem: FitProblem,
        views: Views,
        *,
        focal: bool,
        cameras: bool,
        neutral: NeutralTerm,
        motion: MotionTerm | None,
        robust: Robust,
        known: SharedPrior | None = None,
        eyes: Sequence[Part] = (),
        gaze: GazeTerm | None = None,
    ) -> None:
        self.problem, self.views, self.robust = problem, views, robust
        self.neutral, self.motion, self.known, self.gaze = neutral, motion, known, gaze
        jaw = slice(problem.n_expression, problem.n_expression + 3)
        self.parts = (Part(problem, None, jaw), *eyes)
        # eyeballs are not points of the part that the jaw moves
        self.skin = views.weight.new_ones(problem.n_points)
        for part in eyes:
            assert part.places is not None
            self.skin[part.places] = 0.0
        count, self.frames = views.points.shape[:2]
        sizes = [
            problem.n_identity,
            count * focal,
            6 * (count - 1) * cameras,
            3 * problem.n_points * neutral.deforms,
        ]
        slices, start = [], 0
        for size in sizes:
            slices.append(slice(start, start + size))
            start += size
        identity, *others = slices
        used = [s if s.stop > s.start else None for s in others]
        local = problem.n_expression + (9 if gaze is None else 15)
        self.layout = Layout(identity, used[0], used[1], used[2], start, local)
        self.limits: tuple[Tensor, Tensor] | None = None  # of identity and moves
        if problem.lower is not None and problem.upper is not None:
            free = (0, 0 if gaze is None else 6)
            self.limits = (
                pad(problem.lower, free, value=-torch.inf),
                pad(problem.upper, free, value=torch.inf),
            )

    # -- cost and derivatives ----------------------------------------------------------------------------------------

    def cost(self, state: SequenceState) -> float:
        """Return the cost at a state."""
        data = sum(float(at.cost.double().sum()) for *_, at in self._evaluations(state))
        motion = self.motion.cost(state) if self.motion is not None else 0.0
        gaze = self.gaze.cost(state.moves) if self.gaze is not None else 0.0
        return data + self._prior(state)[0] + motion + gaze + self.neutral.cost(state)

    def rms(self, state: SequenceState) -> Tensor:
        """Return the root mean square distance (C, T) of seen points in pixels, NaN where there are none."""
        total = state.t.new_zeros(2, len(state.log_focal), self.frames)
        for view, rows, _, objective, at in self._evaluations(state):
            seen = (objective.seen.weight > 0).any(1)
            total[0, view, rows] += (at.error.square().sum(1) * seen).sum(1)
            total[1, view, rows] += seen.sum(1)
        return (total[0] / total[1]).sqrt()

    def linearise(self, state: SequenceState) -> tuple[float, Tensor, Arrowhead]:
        """Return the cost, the gradient (T L + S,) and the Gauss-Newton Hessian, in float64."""
        layout, like = self.layout, torch.zeros((), dtype=torch.float64, device=state.t.device)
        matrix = Arrowhead.zeros(
            self.frames, layout.local, layout.shared, banded=self.motion is not None, like=like
        )
        gradient = like.new_zeros(self.frames * layout.local + layout.shared)
        cost, prior_gradient = self._prior(state)
        gradient += prior_gradient
        frame_gradient, shared_gradient = matrix.split(gradient)
        matrix.diagonal.diagonal(dim1=1, dim2=2)[:, : layout.local - 6] += self.views.precision
        matrix.shared.diagonal()[layout.identity] += self.views.identity_precision
        if layout.focal is not None:
            matrix.shared.diagonal()[layout.focal] += self.views.focal_precision
        if self.known is not None:
            size = len(self.known.mean)
            matrix.shared[:size, :size] += self.known.precision
        for view, rows, part, objective, at in self._evaluations(state):
            cost += float(at.cost.double().sum())
            self._add_view(view, rows, part, objective, at, state, matrix, frame_gradient, shared_gradient)
        if self.gaze is not None:
            cost += self.gaze.add(state.moves, matrix, frame_gradient)
        if self.motion is not None:
            cost += self.motion.add(state, matrix, gradient, layout.offsets)
        cost += self.neutral.add(state, matrix.shared, shared_gradient, layout.offsets)
        return cost, gradient, matrix

    def _evaluations(
        self, state: SequenceState
    ) -> Iterator[tuple[int, slice, Part, HeadObjective, Evaluation]]:
        """Evaluate the data term, a few frames of one camera and one part at a time."""
        views, n = self.views, self.problem.n_expression
        parts = (self.parts[0]._replace(problem=self.deformed(state)), *self.parts[1:])
        chunk = _CHUNK if self.layout.offsets is None else _CHUNK_DEFORMED
        for view in range(len(views.points)):
            rotation, shift = state.camera_R[view], state.camera_t[view]
            for start in range(0, self.frames, chunk):
                rows = slice(start, min(start + chunk, self.frames))
                b = rows.stop - rows.start
                identity = state.identity.expand(b, -1)
                focal = state.log_focal[view].expand(b, 1)
                pose = (rotation @ state.R[rows], state.t[rows] @ rotation.mT + shift)
                points, weight = views.points[view, rows], views.weight[view, rows]
                for part in parts:
                    moves = (state.moves[rows, :n], state.moves[rows, part.angles])
                    values = torch.cat((identity, *moves, focal), 1)
                    own = part.places
                    seen = Observations(
                        points=points if own is None else points[..., own],
                        weight=weight * self.skin if own is None else weight[..., own],
                        focal=views.focal[view].expand(b, 2, 2),
                        mean=torch.zeros_like(values),
                        precision=torch.zeros_like(values),
                        robust_scale=values.new_full((b,), views.robust_scale),
                    )
                    objective = HeadObjective(
                        part.problem, seen, focal=self.layout.focal is not None, robust=self.robust
                    )
                    yield view, rows, part, objective, objective.evaluate(Unknowns(values, *pose))

    def _add_view(
        self,
        view: int,
        rows: slice,
        part: Part,
        objective: HeadObjective,
        at: Evaluation,
        state: SequenceState,
        matrix: Arrowhead,
        frame_gradient: Tensor,
        shared_gradient: Tensor,
    ) -> None:
        """Add one camera's view of one part in a few frames."""
        chain = self._chain(view, rows, state, at)  # (b, 6, 6 or 12)
        n_id, n_local = self.problem.n_identity, self.layout.local
        gradient = _widen(objective.gradient(at)[..., None], chain)[..., 0]
        gram = _widen(_widen(objective.hessian(at), chain).mT, chain)
        # columns now: identity, expression, the part's angles, (focal), rotation, translation, (camera)
        n_e = self.problem.n_expression
        n_moves = n_e + 3
        last = n_id + n_moves + int(objective.focal)
        local = [*range(n_id, n_id + n_moves), *range(last, last + 6)]
        frame = [*range(n_e), *range(part.angles.start, part.angles.stop), *range(n_local - 6, n_local)]
        common, places = list(range(n_id)), list(range(n_id))
        if self.layout.focal is not None:
            common.append(n_id + n_moves)
            places.append(self.layout.focal.start + view)
        if self.layout.cameras is not None and view > 0:
            first = self.layout.cameras.start + 6 * (view - 1)
            common += range(last + 6, last + 12)
            places += range(first, first + 6)
        device = gram.device
        mine, own, theirs, where = (torch.tensor(i, device=device) for i in (local, frame, common, places))
        gram, gradient = gram.to(matrix.shared), gradient.to(matrix.shared)
        matrix.diagonal[rows][:, own[:, None], own] += gram[:, mine[:, None], mine]
        matrix.border[rows][:, own[:, None], where] += gram[:, mine[:, None], theirs]
        matrix.shared[where[:, None], where] += gram[:, theirs[:, None], theirs].sum(0)
        frame_gradient[rows][:, own] += gradient[:, mine]
        shared_gradient.index_add_(0, where, gradient[:, theirs].sum(0))
        if self.layout.offsets is not None and part.places is None:
            self._add_offsets(rows, objective, at, chain, matrix, shared_gradient, (mine, own, theirs, where))

    def _add_offsets(
        self,
        rows: slice,
        objective: HeadObjective,
        at: Evaluation,
        chain: Tensor,
        matrix: Arrowhead,
        shared_gradient: Tensor,
        index: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> None:
        """Add the displacements: each vertex sees its own three only. Eyeballs are not displaced."""
        place, (mine, places, theirs, where) = self.layout.offsets, index
        assert place is not None
        root = at.weight.sqrt()
        over_depth = (root / at.depth)[:, None]
        by_point = torch.cat(
            (at.focal.mT[..., None] * over_depth, (at.projected[:, None] * over_depth).neg_()), 1
        )  # (b, 3, 2, N)
        b, points = len(at.cost), self.problem.n_points
        by_head = at.R.mT.bmm(by_point.flatten(2)).view(b, 3, 2, points)
        jaw = at.turn.mT.bmm((by_head * self.problem.weights).flatten(2)).view(b, 3, 2, points)
        own = (by_head + jaw).permute(0, 3, 1, 2)  # (b, N, 3, 2)
        columns = _widen(objective.jacobian(at).mT, chain[:, None]).mT  # (b, N, 2, P)
        cross = (own @ columns).to(matrix.shared).flatten(1, 2)  # (b, 3 N, P)
        matrix.border[rows][:, places, place] += cross[..., mine].mT
        block = cross[..., theirs].sum(0)
        matrix.shared[place, where] += block
        matrix.shared[where, place] += block.mT
        own_gram = (own @ own.mT).sum(0).to(matrix.shared)  # (N, 3, 3)
        at_vertex = place.start + torch.arange(3 * points, device=own.device).view(points, 3)
        matrix.shared[at_vertex[:, :, None], at_vertex[:, None]] += own_gram
        # own is weighted by the root of the weights, so is the residual
        miss = (root * at.error).permute(0, 2, 1)[..., None]  # (b, N, 2, 1)
        shared_gradient[place] += (own @ miss).sum(0).flatten().to(shared_gradient)

    def _chain(self, view: int, rows: slice, state: SequenceState, at: Evaluation) -> Tensor:
        """Return how the pose a camera sees, (ω, δ = dt / depth), moves with frame and camera: (b, 6, 6 or 12)."""
        rotation = state.camera_R[view].expand(len(at.t), 3, 3)
        depth = at.t[:, 2, None, None]
        zero = torch.zeros_like(rotation)
        frame = torch.cat((torch.cat((rotation, zero), 2), torch.cat((zero, rotation / depth), 2)), 1)
        if self.layout.cameras is None or view == 0:
            return frame
        eye = torch.eye(3, dtype=at.t.dtype, device=at.t.device).expand(len(at.t), 3, 3)
        arm = skew(at.t - state.camera_t[view])  # ω × (R_c t_t) = -[R_c t_t]× ω
        camera = torch.cat((torch.cat((eye, zero), 2), torch.cat((-arm / depth, eye / depth), 2)), 1)
        return torch.cat((frame, camera), 2)

    def _prior(self, state: SequenceState) -> tuple[float, Tensor]:
        """Return the Gaussian priors and their gradient (T L + S,)."""
        views, layout = self.views, self.layout
        moves = state.moves.double() - views.mean
        identity = state.identity.double() - views.identity_mean
        frame = moves.new_zeros(self.frames, layout.local)
        shared = moves.new_zeros(layout.shared)
        frame[:, : layout.local - 6] = views.precision * moves
        shared[layout.identity] = views.identity_precision * identity
        cost = float(
            (frame[:, : layout.local - 6] * moves).sum() + (shared[layout.identity] * identity).sum()
        )
        focal = state.log_focal.double()
        if layout.focal is not None:
            shared[layout.focal] = views.focal_precision * focal
            cost += float(views.focal_precision * focal.square().sum())
        if self.known is not None:
            mine = torch.cat((state.identity.double(), focal)) if layout.focal else state.identity.double()
            away = mine - self.known.mean
            pull = self.known.precision @ away
            shared[: len(away)] += pull
            cost += float(pull @ away)
        return 0.5 * cost, torch.cat((frame.flatten(), shared))

    # -- moving ------------------------------------------------------------------------------------------------------

    def deformed(self, state: SequenceState) -> FitProblem:
        """Return the problem with the state's displacements in its template."""
        if self.layout.offsets is None and not bool(state.offsets.any()):
            return self.problem
        template = self.problem.template.view(3, -1).clone()
        template[:, :-1] += state.offsets.mT
        return replace(self.problem, template=template.flatten())

    def retract(self, state: SequenceState, step: Tensor) -> SequenceState:
        """Return the state moved by (T L + S,); bounded coefficients are clamped."""
        layout, count = self.layout, self.frames * self.layout.local
        frame = step[:count].view(self.frames, layout.local).to(state.t)
        shared = step[count:].to(state.t)
        n, n_id = layout.local - 6, self.problem.n_identity
        identity, moves = state.identity + shared[layout.identity], state.moves + frame[:, :n]
        if self.limits is not None:
            low, high = self.limits
            identity, moves = identity.clamp(low[:n_id], high[:n_id]), moves.clamp(low[n_id:], high[n_id:])
        camera_R, camera_t = state.camera_R, state.camera_t
        if layout.cameras is not None:
            turn, shift = shared[layout.cameras].view(-1, 6).split(3, 1)
            camera_R = torch.cat((camera_R[:1], small_rotation(turn) @ camera_R[1:]))
            camera_t = torch.cat((camera_t[:1], camera_t[1:] + shift))
        log_focal = state.log_focal + shared[layout.focal] if layout.focal is not None else state.log_focal
        offsets = state.offsets
        if layout.offsets is not None:
            offsets = offsets + shared[layout.offsets].view(-1, 3)
        R, t = small_rotation(frame[:, n : n + 3]) @ state.R, state.t + frame[:, n + 3 :]
        return SequenceState(identity, moves, R, t, log_focal, camera_R, camera_t, offsets)

    def room(self, state: SequenceState) -> tuple[Tensor, Tensor] | None:
        """Return how far each unknown may step down and up, (T L + S,) each, or None when nothing is bounded."""
        if self.limits is None:
            return None
        n_id, ends = self.problem.n_identity, []
        for bound, free in zip(self.limits, (-torch.inf, torch.inf), strict=True):
            frame = state.t.new_full((self.frames, self.layout.local), free, dtype=torch.float64)
            frame[:, :-6] = bound[n_id:].double() - state.moves.double()
            shared = frame.new_full((self.layout.shared,), free)
            shared[:n_id] = bound[:n_id].double() - state.identity.double()
            ends.append(torch.cat((frame.flatten(), shared)))
        return ends[0], ends[1]


def _widen(columns: Tensor, chain: Tensor) -> Tensor:
    """Turn rows (…, P, k) by a camera's pose, the last six, into rows by frame and camera: (…, P - 6 + m, k)."""
    return torch.cat((columns[..., :-6, :], chain.mT @ columns[..., -6:, :]), -2)
