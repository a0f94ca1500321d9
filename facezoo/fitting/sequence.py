"""fit_sequence: 2D points of many frames and views in; one identity, cameras, and a pose and expression a frame out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from facezoo.errors import InputError
from facezoo.fitting.deformation import NeutralTerm, smoothness
from facezoo.fitting.motion import MotionTerm
from facezoo.fitting.problem import FitProblem, fit_problem
from facezoo.fitting.robust import Robust, check_robust
from facezoo.fitting.sequence_gaze import EYES, GazeTerm, eye_parts, eye_vertices
from facezoo.fitting.sequence_objective import SequenceObjective, Views
from facezoo.fitting.sequence_solver import minimise_sequence, shared_information
from facezoo.fitting.sequence_start import start_sequence
from facezoo.fitting.sequence_state import (
    Deformation,
    Motion,
    NeutralPrior,
    SequenceFit,
    SequenceState,
    SharedPrior,
)
from facezoo.fitting.state import Prior
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams

_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@torch.no_grad()
def fit_sequence(
    head: HeadModel,
    points2d: Tensor,
    sigma: Tensor | float,
    vertex_ids: Tensor,
    K: Tensor,
    *,
    confidence: Tensor | None = None,
    extrinsics: Tensor | None = None,
    segment: Tensor | None = None,
    init: SequenceState | None = None,
    prior: Prior | None = None,
    motion: Motion | None = None,
    neutral: NeutralPrior | None = None,
    deformation: Deformation | None = None,
    known: SharedPrior | None = None,
    robust: Robust = "huber",
    robust_scale: float = 3.0,
    focal: Literal["fixed", "estimate"] = "fixed",
    gaze: bool = False,
    n_identity: int | None = None,
    n_expression: int | None = None,
    iterations: int = 30,
    tolerance: float | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> SequenceFit:
    """Fit one head to all frames and views at once.

    Identity, focal lengths, unknown extrinsics and static displacements are shared; pose, expression, jaw and gaze
    belong to a frame. Levenberg-Marquardt on the arrowhead that this makes (:mod:`facezoo.fitting.arrowhead`): time and
    memory grow linearly with the number of frames. Geometry runs in the points' precision, sums and systems in float64.

    Args:
        head: the head.
        points2d: (C, T, N, 2) pixels of C cameras and T frames. Points with NaN or infinity are not seen: so is a frame
            that a camera missed. A frame that nobody saw is filled in by the motion term and the priors.
        sigma: (C, T, N) standard deviations in pixels, or a number.
        vertex_ids: (N,) vertices of the head that the points belong to.
        K: (C, 3, 3) intrinsics in the same pixels.
        confidence: (C, T, N) >= 0, multiplies a point's squared error; zero is not seen.
        extrinsics: (C, 4, 4) world to camera; None with several cameras estimates them. Then the first camera is the
            world, and the head's size gives the scale.
        segment: (T,) long; frames are neighbours in time within a segment only (a cut begins a new one).
        init: start here; by default every view is fitted alone first.
        prior: of identity, expression, jaw and focal lengths; means of expression and jaw may have T rows.
        motion: temporal term; None for pictures that are no video.
        neutral: shape that the neutral head should be close to.
        deformation: estimate a static displacement of every observed vertex. The Schur complement then has 3 N rows:
            choose N or T moderate (1609 points and 64 frames take about 2 GB).
        known: what other frames told about identity and focal lengths.
        robust, robust_scale: loss of the points and where outliers begin, in standard deviations.
        focal: ``"estimate"`` one factor on each camera's focal lengths.
        gaze: let both eyes turn; some of the vertices must lie on an eyeball. Means of ``prior`` may come from a gaze
            network (``HeadParams.left_eye`` and ``right_eye``, T rows).
        n_identity, n_expression: use only the first coefficients.
        iterations: most steps.
        tolerance: stop when the decrease still to be expected is below this part of the cost.
        progress: called with steps tried and the cost.

    Returns:
        The fit.

    Raises:
        InputError: shapes or values make no sense, nothing is seen, or gaze is asked for without points on the eyes.
    """
    check_robust(robust)
    if focal not in ("fixed", "estimate"):
        raise InputError(f"focal must be 'fixed' or 'estimate', got {focal!r}.")
    if iterations < 1:
        raise InputError(f"iterations must be at least 1, got {iterations!r}.")
    points, spread, trust = _observed(points2d, sigma, confidence, vertex_ids)
    count, frames = points.shape[:2]
    prior = prior or Prior()
    k = _matrices("K", K, (count, 3, 3)).to(points)
    rig = None
    if extrinsics is not None:
        rig = _matrices("extrinsics", extrinsics, (count, 4, 4)).to(points)
    elif count == 1:
        rig = torch.eye(4).to(points)[None]
    segment = torch.zeros(frames, dtype=torch.long) if segment is None else segment.cpu()
    if segment.shape != (frames,):
        raise InputError(f"segment must have shape ({frames},), got {tuple(segment.shape)}.")
    problem = fit_problem(
        head,
        vertex_ids,
        n_identity=n_identity,
        n_expression=n_expression,
        dtype=points.dtype,
        device=points.device,
    )
    sizes = (problem.n_identity, problem.n_expression)
    estimate_rig = rig is None
    eyes = eye_parts(head, vertex_ids, problem) if gaze else []
    widths = [head.params[eye].sigma for eye in EYES] if gaze else []
    if init is None:
        skin = trust.clone()
        for part in eyes:
            skin[..., part.places] = 0.0  # single pictures are fitted with the eyes at rest
        state = start_sequence(
            head, points, spread, skin, vertex_ids, k, rig, _single(prior), sizes, robust != "none"
        )
        state = state._replace(moves=pad(state.moves, (0, 6 * gaze)))
    else:
        state = _checked(init, count, frames, problem, points, gaze)
    objective = SequenceObjective(
        problem,
        _views(problem, points, spread, trust, k, prior, robust_scale, widths),
        focal=focal == "estimate",
        cameras=estimate_rig and count > 1,
        neutral=NeutralTerm(
            problem, neutral, None if deformation is None else smoothness(head, vertex_ids, deformation)
        ),
        motion=None if motion is None else _motion(head, problem, vertex_ids, motion, segment),
        robust=robust,
        known=known,
        eyes=eyes,
        gaze=GazeTerm(prior.weight, motion, segment.to(points.device)) if gaze else None,
    )
    limit = _TOLERANCE.get(points.dtype, 1e-5) if tolerance is None else tolerance
    best = minimise_sequence(objective, state, iterations=iterations, tolerance=limit, progress=progress)
    at = best.state
    scaled = k.clone()
    scaled[:, :2, :2] *= at.log_focal.exp()[:, None, None]
    world = torch.eye(4).to(points).repeat(count, 1, 1)
    world[:, :3, :3], world[:, :3, 3] = at.camera_R, at.camera_t
    n = problem.n_expression
    size = sizes[0] + count * (focal == "estimate")
    return SequenceFit(
        params=HeadParams(
            identity=at.identity[None],
            expression=at.moves[:, :n],
            jaw=at.moves[:, n : n + 3],
            left_eye=at.moves[:, n + 3 : n + 6] if gaze else None,
            right_eye=at.moves[:, n + 6 :] if gaze else None,
        ),
        R=at.R,
        t=at.t,
        K=scaled,
        extrinsics=world,
        offsets=at.offsets,
        vertex_ids=vertex_ids,
        cost=best.cost,
        rms=objective.rms(at),
        iterations=best.iterations,
        converged=best.converged,
        shared_precision=shared_information(best.matrix, size),
        state=at,
    )


def _observed(
    points2d: Tensor, sigma: Tensor | float, confidence: Tensor | None, vertex_ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the observations; return points (C, T, N, 2), sigmas and confidences (C, T, N), zero = not seen."""
    if (
        points2d.dim() != 4
        or points2d.shape[-1] != 2
        or not points2d.is_floating_point()
        or 0 in points2d.shape
    ):
        raise InputError(
            f"points2d must be floats (C, T, N, 2), none of them zero, got {points2d.dtype} {tuple(points2d.shape)}."
        )
    shape = points2d.shape[:3]
    if vertex_ids.shape != shape[2:]:
        raise InputError(f"{shape[2]} points need vertex_ids ({shape[2]},), got {tuple(vertex_ids.shape)}.")
    points = points2d.detach() if points2d.dtype == torch.float64 else points2d.detach().float()
    spread = torch.as_tensor(sigma, dtype=points.dtype, device=points.device)
    trust = torch.ones(shape).to(points) if confidence is None else confidence.detach().to(points)
    if spread.dim() not in (0, 3) or (spread.dim() == 3 and spread.shape != shape) or trust.shape != shape:
        raise InputError(
            f"sigma (or a number) and confidence must be {tuple(shape)}, got {tuple(spread.shape)} and "
            f"{tuple(trust.shape)}."
        )
    if bool((spread <= 0).any()) or bool((trust < 0).any()):
        raise InputError("sigma must be positive and confidence not negative.")
    spread = spread.expand(shape)
    good = torch.isfinite(points).all(-1) & torch.isfinite(spread) & torch.isfinite(trust)
    return (
        torch.where(good[..., None], points, 0.0),
        torch.where(good, spread, 1.0),
        torch.where(good, trust, 0.0),
    )


def _matrices(name: str, given: Tensor, shape: tuple[int, int, int]) -> Tensor:
    if given.shape != shape or not bool(torch.isfinite(given).all()):
        raise InputError(f"{name} must be finite and of shape {shape}, got {tuple(given.shape)}.")
    return given.detach()


def _single(prior: Prior) -> Prior:
    """Return the prior for single pictures: means of T rows fit no chunk of them."""
    if prior.mean is None or prior.mean.batch_size == 1:
        return prior
    return Prior(
        None, prior.identity_sigma, prior.expression_sigma, prior.jaw_sigma, prior.focal_sigma, prior.weight
    )


def _views(
    problem: FitProblem,
    points: Tensor,
    spread: Tensor,
    trust: Tensor,
    K: Tensor,
    prior: Prior,
    robust_scale: float,
    gaze: list[Tensor],
) -> Views:
    """Lay observations and priors out the way the objective reads them; ``gaze`` has a width (3,) an eye."""
    if not (robust_scale > 0 and prior.focal_sigma > 0 and prior.weight >= 0):
        raise InputError("robust_scale and Prior.focal_sigma must be positive and Prior.weight not negative.")
    frames, n_id, n_e = points.shape[1], problem.n_identity, problem.n_expression
    widths = list(problem.sigma.double().split([n_id, n_e, 3]))
    for i, given in enumerate((prior.identity_sigma, prior.expression_sigma, prior.jaw_sigma)):
        if given is not None:
            widths[i] = torch.as_tensor(given).to(widths[i]).expand_as(widths[i])
    widths += [width.to(widths[0]) for width in gaze]
    precision = [prior.weight / width.square() for width in widths]
    means = [precision[0].new_zeros(n_id), *(p.new_zeros(frames, len(p)) for p in precision[1:])]
    if prior.mean is not None:
        names = ("identity", "expression", "jaw", *EYES)[: len(means)]
        for mean, given in zip(means, (getattr(prior.mean, name) for name in names), strict=True):
            if given is not None:
                row = given.detach().to(mean)
                if mean.dim() == 1:
                    row = row.mean(0)
                if mean.dim() == 2 and len(row) not in (1, frames):
                    raise InputError(
                        f"Prior.mean has {len(row)} rows for {frames} frames; give one or as many."
                    )
                mean[..., : row.shape[-1]] = row
    weight = (trust / spread.square())[..., None, :].expand(*points.shape[:2], 2, -1)
    return Views(
        points=(points - K[:, None, None, :2, 2]).mT.contiguous(),
        weight=weight.contiguous(),
        focal=K[:, :2, :2],
        mean=torch.cat(means[1:], 1),
        precision=torch.cat(precision[1:]),
        identity_mean=means[0],
        identity_precision=precision[0],
        focal_precision=prior.weight / prior.focal_sigma**2,
        robust_scale=robust_scale,
    )


def _motion(
    head: HeadModel, problem: FitProblem, vertex_ids: Tensor, motion: Motion, segment: Tensor
) -> MotionTerm:
    """Choose vertices that lie evenly on the observed surface."""
    ids = vertex_ids.cpu()
    still = torch.ones(len(ids), dtype=torch.bool)
    still[torch.cat(eye_vertices(head, ids))] = False
    places = still.nonzero()[:, 0]
    for size in sorted(head.topology.subsets):
        inside = still & torch.isin(ids, head.topology.subsets[size].cpu())
        if int(inside.sum()) >= min(motion.points, len(ids)):
            places = inside.nonzero()[:, 0]
            break
    if len(places) > 2 * motion.points:
        places = places[torch.linspace(0, len(places) - 1, motion.points).round().long()]
    chosen = fit_problem(
        head,
        ids[places],
        n_identity=problem.n_identity,
        n_expression=problem.n_expression,
        dtype=problem.template.dtype,
        device=problem.template.device,
    )
    return MotionTerm(chosen, places.to(problem.template.device), motion, segment.to(problem.template.device))


def _checked(
    init: SequenceState, count: int, frames: int, problem: FitProblem, points: Tensor, gaze: bool
) -> SequenceState:
    """Check the shapes of a given start."""
    wanted = {
        "identity": (problem.n_identity,),
        "moves": (frames, problem.n_expression + 3 + 6 * gaze),
        "R": (frames, 3, 3),
        "t": (frames, 3),
        "log_focal": (count,),
        "camera_R": (count, 3, 3),
        "camera_t": (count, 3),
        "offsets": (problem.n_points, 3),
    }
    for name, value in init._asdict().items():
        if value.shape != wanted[name] or not bool(torch.isfinite(value).all()):
            raise InputError(f"init.{name} must be finite {wanted[name]}, got {tuple(value.shape)}.")
    state = SequenceState(*(value.detach().to(points) for value in init))
    if problem.lower is not None and problem.upper is not None:
        n, free = problem.n_identity, (0, 6 * gaze)
        low, high = (
            pad(problem.lower[n:], free, value=-torch.inf),
            pad(problem.upper[n:], free, value=torch.inf),
        )
        state = state._replace(
            identity=state.identity.clamp(problem.lower[:n], problem.upper[:n]),
            moves=state.moves.clamp(low, high),
        )
    return state
