"""fit: 2D points in, head and camera out."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting.initialise import initial_pose
from facezoo.fitting.lm import Minimum, minimise
from facezoo.fitting.objective import HeadObjective, Observations
from facezoo.fitting.problem import FitProblem, fit_problem
from facezoo.fitting.robust import Robust, check_robust
from facezoo.fitting.state import FitResult, FitState, Prior, Unknowns
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams

MIN_POINTS = 6  # each gives two equations; pose alone has six unknowns and wants some to spare
_RIGID_ITERATIONS = 15
_RIGID_TOLERANCE = 1e-3  # the last stage moves the pose on anyway
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}


@torch.no_grad()
def fit(
    head: HeadModel,
    points2d: Tensor,
    sigma: Tensor | float | None,
    vertex_ids: Tensor,
    K: Tensor,
    *,
    confidence: Tensor | None = None,
    min_confidence: float = 0.0,
    subset: int | None = None,
    init: FitState | None = None,
    prior: Prior | None = None,
    robust: Robust = "none",
    robust_scale: float = 3.0,
    focal: str = "fixed",
    rigid: bool = False,
    n_identity: int | None = None,
    n_expression: int | None = None,
    iterations: int = 40,
    tolerance: float | None = None,
) -> FitResult:
    """Fit a head and a camera to 2D points of its vertices, a batch of faces at once.

    Minimises ½ Σ p |projection - point|² / σ² plus Gaussian priors over identity, expression, jaw, pose and,
    if asked, focal length; the neck and the eyes stay at rest. First the pose (in closed form, no guess
    needed), then everything, by Levenberg-Marquardt with analytic derivatives. Runs on the points' device
    and in their precision.

    Args:
        head: the head.
        points2d: (B, N, 2) pixels. Points with NaN or infinity are ignored.
        sigma: (B, N) or (B, N, 2) standard deviations in pixels, a number, or None for one pixel. Points
            whose sigma is NaN or infinite are ignored.
        vertex_ids: (N,) vertices of the head that the points belong to.
        K: (3, 3) or (B, 3, 3) intrinsics in the same pixels.
        confidence: (B, N) >= 0, multiplies a point's squared error; zero or NaN ignores the point.
        min_confidence: ignore points below.
        subset: use only the points of this named subset of the head (e.g. 403 of 1609): faster, hardly worse.
        init: start here instead of at the mean; with R and t no pose is sought first. Turned by up to 60
            degrees or half the distance off, it still ends in the same minimum.
        prior: prior where it differs from the head's own.
        robust: loss for outliers, ``"huber"`` or ``"geman-mcclure"`` (solved after a Huber fit).
        robust_scale: where outliers begin, in standard deviations.
        focal: ``"fixed"``, or ``"estimate"`` one factor on both focal lengths of K.
        rigid: only find the pose (and focal length); coefficients stay at ``init`` or the prior's mean.
        n_identity, n_expression: use only the first coefficients.
        iterations: most steps of the last stage.
        tolerance: stop when the decrease still to be expected is below this part of the cost (of a thousand
            where the cost is less); default 1e-5 in float32, where rounding of the cost begins, 1e-9 in
            float64.

    Returns:
        The fits, in the order of the batch.

    Raises:
        InputError: shapes or values make no sense, or a face has fewer than six usable points.
    """
    if focal not in ("fixed", "estimate"):
        raise InputError(f"focal must be 'fixed' or 'estimate', got {focal!r}.")
    if iterations < 1:
        raise InputError(f"iterations must be at least 1, got {iterations!r}.")
    check_robust(robust)
    points, weight, ids = _observed(points2d, sigma, vertex_ids, confidence, min_confidence)
    if subset is not None:
        keep = torch.isin(ids, head.topology.subset(subset).to(ids.device))
        points, weight, ids = points[:, keep], weight[:, keep], ids[keep]
    problem = fit_problem(
        head, ids, n_identity=n_identity, n_expression=n_expression, dtype=points.dtype, device=points.device
    )
    usable = (weight > 0).all(2).sum(1)
    if bool((usable < MIN_POINTS).any()):
        bad = (usable < MIN_POINTS).nonzero()[:, 0].tolist()
        raise InputError(
            f"face {bad} of the batch has fewer than {MIN_POINTS} usable points (finite, positive confidence, "
            f"confidence >= {min_confidence}): {usable[bad].tolist()}."
        )
    estimate = focal == "estimate"
    seen, intrinsics = _observations(problem, points, weight, K, prior or Prior(), robust_scale, estimate)
    start, posed = _start(problem, seen, init, robust != "none")
    limit = _TOLERANCE.get(points.dtype, 1e-5) if tolerance is None else tolerance
    first: Robust = "none" if robust == "none" else "huber"  # convex, so it may start from far away
    # Without outliers the closed form is as good as a rigid solution for the stage that moves everything.
    if rigid or (robust != "none" and not posed):
        # The mean face misses by many sigmas: where outliers begin follows from the misses themselves.
        loose = seen if robust == "none" else _loosened(problem, seen, start)
        objective = HeadObjective(problem, loose, rigid=True, focal=estimate, robust=first)
        best = minimise(
            objective, start, iterations=_RIGID_ITERATIONS, tolerance=limit if rigid else _RIGID_TOLERANCE
        )
        if rigid:
            return _result(problem, objective, intrinsics, best)
        start = best.state
    objective = HeadObjective(problem, seen, focal=estimate, robust=first)
    best = minimise(objective, start, iterations=iterations, tolerance=limit)
    if robust == "geman-mcclure":
        objective = HeadObjective(problem, seen, focal=estimate, robust=robust)
        best = minimise(objective, best.state, iterations=iterations, tolerance=limit)
    return _result(problem, objective, intrinsics, best)


def _observed(
    points2d: Tensor,
    sigma: Tensor | float | None,
    vertex_ids: Tensor,
    confidence: Tensor | None,
    min_confidence: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the observations; return points and weights (B, N, 2), zero weight = ignored, and the ids."""
    if (
        points2d.dim() != 3
        or points2d.shape[-1] != 2
        or not len(points2d)
        or not points2d.is_floating_point()
    ):
        raise InputError(
            f"points2d must be floats (B, N, 2) with B >= 1, got {points2d.dtype} {tuple(points2d.shape)}."
        )
    batch, n, _ = points2d.shape
    if vertex_ids.shape != (n,):
        raise InputError(f"{n} points need vertex_ids of shape ({n},), got {tuple(vertex_ids.shape)}.")
    points = points2d.detach() if points2d.dtype == torch.float64 else points2d.detach().float()
    spread = torch.as_tensor(1.0 if sigma is None else sigma, dtype=points.dtype, device=points.device)
    if spread.dim() == 2:
        spread = spread[..., None]
    if spread.dim() not in (0, 3) or (spread.dim() == 3 and spread.shape[:2] != (batch, n)):
        raise InputError(
            f"sigma must be a number, ({batch}, {n}) or ({batch}, {n}, 2), got {tuple(spread.shape)}."
        )
    if bool((spread <= 0).any()):
        raise InputError("sigma must be positive pixels; use confidence=0 to ignore a point.")
    weight = spread.square().reciprocal().expand(batch, n, 2)
    if confidence is not None:
        if confidence.shape != (batch, n):
            raise InputError(f"confidence must have shape ({batch}, {n}), got {tuple(confidence.shape)}.")
        confidence = confidence.detach().to(points)
        if bool((confidence < 0).any()):
            raise InputError("confidence must not be negative.")
        weight = weight * torch.where(confidence >= min_confidence, confidence, 0.0)[..., None]
    good = (torch.isfinite(points) & torch.isfinite(weight)).all(2, keepdim=True)
    return torch.where(good, points, 0.0), torch.where(good, weight, 0.0), vertex_ids


def _observations(
    problem: FitProblem,
    points: Tensor,
    weight: Tensor,
    K: Tensor,
    prior: Prior,
    robust_scale: float,
    estimate: bool,
) -> tuple[Observations, Tensor]:
    """Lay observations and prior out the way the objective reads them; also return K (B, 3, 3)."""
    batch = len(points)
    if K.shape not in ((3, 3), (batch, 3, 3)):
        raise InputError(f"K must be (3, 3) or ({batch}, 3, 3), got {tuple(K.shape)}.")
    k = K.detach().to(points).expand(batch, 3, 3)
    if not bool(torch.isfinite(k).all()) or not bool(k[:, :2, :2].det().all()):
        raise InputError("K must be finite with non-zero focal lengths.")
    if not robust_scale > 0 or not prior.focal_sigma > 0 or not prior.weight >= 0:
        raise InputError(
            "robust_scale and Prior.focal_sigma must be positive and Prior.weight not negative, "
            f"got {robust_scale!r}, {prior.focal_sigma!r}, {prior.weight!r}."
        )
    groups = {"identity": problem.n_identity, "expression": problem.n_expression, "jaw": 3}
    sizes = list(groups.values())
    widths = list(problem.sigma.split(sizes))
    for i, given in enumerate((prior.identity_sigma, prior.expression_sigma, prior.jaw_sigma)):
        if given is not None:
            widths[i] = torch.as_tensor(given, dtype=points.dtype, device=points.device).expand(sizes[i])
    width = torch.cat((*widths, points.new_tensor([prior.focal_sigma if estimate else torch.inf])))
    if not bool((width > 0).all()):
        raise InputError("prior standard deviations must be positive (inf = no prior).")
    mean = points.new_zeros(batch, len(width))
    if prior.mean is not None:
        _fill(mean, prior.mean, groups)
    seen = Observations(
        points=(points - k[:, None, :2, 2]).mT.contiguous(),
        weight=weight.mT.contiguous(),
        focal=k[:, :2, :2],
        mean=mean,
        precision=(prior.weight / width.square()).expand(batch, -1),
        robust_scale=points.new_full((batch,), robust_scale),
    )
    return seen, k


def _fill(out: Tensor, params: HeadParams, groups: dict[str, int]) -> None:
    """Write the groups that ``params`` gives into the columns of ``out`` (B, n + 4)."""
    start = 0
    for name, size in groups.items():
        given = getattr(params, name)
        if given is not None:
            if given.dim() != 2 or len(given) not in (1, len(out)) or given.shape[1] > size:
                raise InputError(
                    f"{name} must be ({len(out)}, k) with k <= {size} coefficients in use, got {tuple(given.shape)}."
                )
            if not bool(torch.isfinite(given).all()):
                raise InputError(f"{name} of the start or the prior holds NaN or infinity.")
            out[:, start : start + given.shape[1]] = given.detach().to(out)
        start += size


def _start(
    problem: FitProblem, seen: Observations, init: FitState | None, robust: bool
) -> tuple[Unknowns, bool]:
    """Return the first state, and whether its pose was given."""
    values, n = seen.mean.clone(), problem.n_coefficients
    if init is not None:
        _fill(
            values,
            init.params,
            {"identity": problem.n_identity, "expression": problem.n_expression, "jaw": 3},
        )
        if init.focal_scale is not None:
            values[:, -1] = init.focal_scale.detach().to(values).log()
    if problem.lower is not None:
        values[:, :-1] = values[:, :-1].clamp(problem.lower, problem.upper)
    if init is not None and init.R is not None and init.t is not None:
        batch = len(values)
        if init.R.shape != (batch, 3, 3) or init.t.shape != (batch, 3):
            raise InputError(
                f"init.R and init.t must be ({batch}, 3, 3) and ({batch}, 3), "
                f"got {tuple(init.R.shape)} and {tuple(init.t.shape)}."
            )
        rotation, translation = init.R.detach().to(values), init.t.detach().to(values)
        if not bool((translation[:, 2] > 0).all()) or not bool(torch.isfinite(rotation).all()):
            raise InputError("init must place every head in front of the camera (t z > 0), all finite.")
        return Unknowns(values, rotation, translation), True
    rest, _ = problem.rest(torch.cat((values[:, :n], values.new_zeros(len(values), 9)), 1))
    focal = seen.focal * values[:, -1:, None].exp()
    rays = torch.linalg.solve(focal, seen.points)
    rotation, translation = initial_pose(rest, rays, seen.weight.mean(1), robust=robust)
    return Unknowns(values, rotation, translation), False


def _loosened(problem: FitProblem, seen: Observations, start: Unknowns) -> Observations:
    """Let outliers begin at twice the median miss of the start."""
    at = HeadObjective(problem, seen, rigid=True).evaluate(start)
    miss = (seen.weight * at.error.square()).sum(1).sqrt()
    median = torch.where(seen.weight.sum(1) > 0, miss, torch.nan).nanmedian(1).values
    return seen._replace(robust_scale=torch.maximum(seen.robust_scale, 2 * median))


def _result(problem: FitProblem, objective: HeadObjective, intrinsics: Tensor, best: Minimum) -> FitResult:
    """Name what the solver found."""
    values, at = best.state.values, best.at
    used = (at.weight > 0).any(1)
    scale = values[:, -1].exp()
    k = intrinsics.clone()
    k[:, :2, :2] = k[:, :2, :2] * scale[:, None, None]
    groups = [] if objective.rigid else ["identity", "expression", "jaw"]
    groups += ["focal"] * objective.focal + ["rotation", "translation"]
    sizes = {"identity": problem.n_identity, "expression": problem.n_expression, "focal": 1}
    layout, start = {}, 0
    for name in groups:
        layout[name] = slice(start, start + sizes.get(name, 3))
        start = layout[name].stop
    identity, expression, jaw, _ = values.split([problem.n_identity, problem.n_expression, 3, 1], 1)
    return FitResult(
        params=HeadParams(identity=identity, expression=expression, jaw=jaw),
        R=best.state.R,
        t=best.state.t,
        K=k,
        cost=at.cost,
        rms=((at.error.square().sum(1) * used).sum(1) / used.sum(1)).sqrt(),
        iterations=best.iterations,
        converged=best.converged,
        precision=best.hessian,
        layout=layout,
        focal_scale=scale,
    )
