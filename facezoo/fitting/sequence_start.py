"""Where a sequence fit starts: every view of every frame fitted alone, then brought into one world."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting.fit import MIN_POINTS, fit
from facezoo.fitting.sequence_state import SequenceState
from facezoo.fitting.state import FitResult, Prior
from facezoo.heads.model import HeadModel

_CHUNK = 32
_ITERATIONS = 12


def start_sequence(
    head: HeadModel,
    points: Tensor,
    sigma: Tensor,
    confidence: Tensor,
    vertex_ids: Tensor,
    K: Tensor,
    extrinsics: Tensor | None,
    prior: Prior,
    sizes: tuple[int, int],
    robust: bool,
) -> SequenceState:
    """Fit single pictures and combine them.

    Args:
        head: the head.
        points: (C, T, N, 2) pixels; sigma (C, T, N) pixels; confidence (C, T, N), zero = not seen.
        vertex_ids: (N,).
        K: (C, 3, 3).
        extrinsics: (C, 4, 4) world to camera, None to find them (the first camera is the world).
        prior: of the coefficients.
        sizes: identity and expression coefficients in use.
        robust: expect outliers.

    Returns:
        The state. Frames that nobody saw lie between their neighbours.

    Raises:
        InputError: no view shows six points, or a camera shares no frame with the first.
    """
    count, frames = points.shape[:2]
    usable = (confidence > 0).sum(2) >= MIN_POINTS
    if not bool(usable.any()):
        raise InputError(f"no frame has {MIN_POINTS} usable points (finite, positive confidence).")
    found = points.new_zeros(count, frames, 12)
    identity = points.new_zeros(sizes[0])
    moves = points.new_zeros(frames, sizes[1] + 3)
    total, per_frame = 0.0, points.new_zeros(frames, 1)
    for view, row in _chunks(usable):
        result = _fit(head, points[view, row], sigma[view, row], confidence[view, row], vertex_ids,
                      K[view], prior, sizes, robust)  # fmt: skip
        assert result.params.identity is not None and result.params.jaw is not None
        assert result.params.expression is not None
        found[view, row] = torch.cat((result.R.flatten(1), result.t), 1)
        identity += result.params.identity.sum(0)
        moves[row] += torch.cat((result.params.expression, result.params.jaw), 1)
        per_frame[row] += 1
        total += len(row)
    moves = moves / per_frame.clamp(min=1)
    R, t = found[..., :9].view(count, frames, 3, 3), found[..., 9:]
    camera_R, camera_t = (
        _cameras(R, t, usable) if extrinsics is None else (extrinsics[:, :3, :3], extrinsics[:, :3, 3])
    )
    share = usable.to(points)[..., None]
    world_R = project_rotation(
        (share[..., None] * (camera_R.mT[:, None] @ R)).sum(0) + 1e-12 * torch.eye(3).to(points)
    )
    world_t = (share * ((t - camera_t[:, None]) @ camera_R)).sum(0) / share.sum(0).clamp(min=1)
    seen = usable.any(0)
    return SequenceState(
        identity=identity / total,
        moves=_between(moves, seen),
        R=project_rotation(_between(world_R.flatten(1), seen).view(-1, 3, 3)),
        t=_between(world_t, seen),
        log_focal=points.new_zeros(count),
        camera_R=camera_R.clone(),
        camera_t=camera_t.clone(),
        offsets=points.new_zeros(points.shape[2], 3),
    )


def project_rotation(matrix: Tensor) -> Tensor:
    """Return the rotations nearest to (..., 3, 3)."""
    u, _, vh = torch.linalg.svd(matrix)
    sign = torch.ones_like(matrix[..., 0])
    sign[..., 2] = torch.linalg.det(u @ vh).sign()
    return (u * sign[..., None, :]) @ vh


def _chunks(usable: Tensor) -> list[tuple[int, Tensor]]:
    rows = [(view, seen.nonzero()[:, 0]) for view, seen in enumerate(usable)]
    return [(view, part) for view, row in rows if len(row) for part in row.split(_CHUNK)]


def _fit(
    head: HeadModel,
    points: Tensor,
    sigma: Tensor,
    confidence: Tensor,
    ids: Tensor,
    K: Tensor,
    prior: Prior,
    sizes: tuple[int, int],
    robust: bool,
) -> FitResult:
    return fit(
        head, points, sigma, ids, K, confidence=confidence, prior=prior, n_identity=sizes[0], n_expression=sizes[1],
        iterations=_ITERATIONS, robust="huber" if robust else "none",
    )  # fmt: skip


def _cameras(R: Tensor, t: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """Find extrinsics from frames that a camera shares with the first."""
    camera_R, camera_t = torch.eye(3).to(R).repeat(len(R), 1, 1), R.new_zeros(len(R), 3)
    for view in range(1, len(R)):
        both = usable[0] & usable[view]
        if not bool(both.any()):
            raise InputError(
                f"camera {view} sees the head in no frame that camera 0 sees; give extrinsics for it."
            )
        camera_R[view] = project_rotation((R[view, both] @ R[0, both].mT).mean(0))
        camera_t[view] = (t[view, both] - t[0, both] @ camera_R[view].mT).median(0).values
    return camera_R, camera_t


def _between(values: Tensor, seen: Tensor) -> Tensor:
    """Fill rows (T, k) that were not seen on the straight line between the nearest that were."""
    known = seen.nonzero()[:, 0]
    place = torch.arange(len(seen), device=seen.device)
    right = torch.searchsorted(known, place).clamp(max=len(known) - 1)
    left = torch.where(known[right] <= place, right, (right - 1).clamp(min=0))
    gap = (known[right] - known[left]).clamp(min=1)
    share = ((place - known[left]).clamp(min=0) / gap).clamp(max=1).to(values)[:, None]
    return values[known[left]] * (1 - share) + values[known[right]] * share
