"""FitProblem: a head reduced to the vertices that are observed, ready for fast products."""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.heads.model import HeadModel
from facezoo.heads.params import JOINT_NAMES

_JAW = 2  # joint order of every head: root, neck, jaw, left eye, right eye
_CACHED_PROBLEMS = 8


@dataclass(frozen=True)
class FitProblem:
    """The arrays of one head for N observed vertices, with all joints but one at rest.

    Coordinates come first and points last, ``(3, N)``: every step of the solver is then one long product or
    one long element-wise pass. Only the jaw moves, so skinning reduces to ``v = x + w (R - I) (x - j)`` with
    x the rest vertex (shape and pose correctives applied), w its jaw weight, R the jaw's rotation, j the
    shaped jaw joint. It is FLAME's linear blend skinning with identity elsewhere (Li et al. 2017, eqs. 1-4).

    The jaw joint moves with the shape like a vertex, so it is kept as one: the last of N + 1. For vertices of an
    eyeball the joint may be the eye's: wherever this room says jaw, it is the one joint that moves.

    Attributes:
        vertex_ids: (N,) of the head.
        n_identity, n_expression: coefficients in use; they may be fewer than the head has.
        template: (3 (N + 1),) coordinate-major.
        basis: (3 (N + 1), n + 9), shape directions followed by the jaw's pose correctives.
        weights: (N,) skinning weights of the jaw.
        sigma: (n + 3,) prior widths of identity, expression and jaw; inf = no prior.
        lower, upper: (n + 3,) bounds, infinite where there are none; None when no coefficient is bounded.
    """

    vertex_ids: Tensor
    n_identity: int
    n_expression: int
    template: Tensor
    basis: Tensor
    weights: Tensor
    sigma: Tensor
    lower: Tensor | None
    upper: Tensor | None

    @property
    def n_points(self) -> int:
        """Return N."""
        return len(self.weights)

    @property
    def n_coefficients(self) -> int:
        """Return identity plus expression coefficients."""
        return self.n_identity + self.n_expression

    @functools.cached_property
    def by_vertex(self) -> Tensor:
        """Return the shape directions as (N, 3, n)."""
        planes = self.basis.view(3, self.n_points + 1, -1)
        return planes[:, :-1, : self.n_coefficients].transpose(0, 1).contiguous()

    @functools.cached_property
    def correctives(self) -> Tensor:
        """Return the pose correctives as (9, 3 N)."""
        planes = self.basis.view(3, self.n_points + 1, -1)
        return planes[:, :-1, self.n_coefficients :].permute(2, 0, 1).reshape(9, -1)

    @functools.cached_property
    def joint_basis(self) -> Tensor:
        """Return how shape moves the jaw joint, (3, n)."""
        return self.basis.view(3, self.n_points + 1, -1)[:, -1, : self.n_coefficients].contiguous()

    def rest(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return rest vertices (B, 3, N) and jaw joints (B, 3, 1).

        Args:
            values: (B, n + 9) coefficients and the jaw's vec(R - I).
        """
        both = torch.addmm(self.template, values, self.basis.mT).view(-1, 3, self.n_points + 1)
        rest, joint = both.split((self.n_points, 1), 2)
        return rest, joint


_cache: weakref.WeakKeyDictionary[HeadModel, dict[tuple, FitProblem]] = weakref.WeakKeyDictionary()


def fit_problem(
    head: HeadModel,
    vertex_ids: Tensor,
    *,
    n_identity: int | None = None,
    n_expression: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    joint: int = _JAW,
) -> FitProblem:
    """Gather (or find again) the arrays for fitting ``vertex_ids`` of ``head``.

    The last few problems of every head are kept: a video or a batch job pays for the gathering once.

    Args:
        head: the head.
        vertex_ids: (N,) long, in the order of the observed points.
        n_identity, n_expression: how many leading coefficients to use; default all.
        dtype, device: of the solver.
        joint: the one that moves, 1 to 4.

    Raises:
        InputError: ids are not a list of the head's vertices, or too many coefficients are asked for.
    """
    if vertex_ids.dim() != 1 or vertex_ids.dtype != torch.long or not len(vertex_ids):
        raise InputError(
            f"vertex_ids must be a non-empty (N,) long tensor, got {vertex_ids.dtype} {tuple(vertex_ids.shape)}."
        )
    counts = []
    for name, given, known in (
        ("n_identity", n_identity, head.n_identity),
        ("n_expression", n_expression, head.n_expression),
    ):
        counts.append(known if given is None else given)
        if not 0 <= counts[-1] <= known:
            raise InputError(f"{name} must be in 0..{known} for head {head.head_id!r}, got {given!r}.")
    ids = vertex_ids.cpu()
    source = head.shapedirs
    version = 0 if source.is_inference() else source._version
    key = (ids.numpy().tobytes(), joint, *counts, dtype, torch.device(device), source.data_ptr(), version)
    problems = _cache.setdefault(head, {})
    if key not in problems:
        if int(ids.min()) < 0 or int(ids.max()) >= len(head.v_template):
            raise InputError(
                f"vertex_ids must be in 0..{len(head.v_template) - 1}, got {int(ids.min())}..{int(ids.max())}."
            )
        while len(problems) >= _CACHED_PROBLEMS:
            problems.pop(next(iter(problems)))
        problems[key] = _gather(head, ids, counts[0], counts[1], dtype, torch.device(device), joint)
    return problems[key]


@torch.inference_mode(False)
@torch.no_grad()
def _gather(
    head: HeadModel,
    ids: Tensor,
    n_identity: int,
    n_expression: int,
    dtype: torch.dtype,
    device: torch.device,
    moving: int,
) -> FitProblem:
    """Cut the head's arrays down to ``ids`` and to the coefficients in use, coordinate-major."""
    n = n_identity + n_expression

    def here(value: Tensor) -> Tensor:
        return value.detach().to(device=device, dtype=dtype)

    columns = torch.cat((torch.arange(n_identity), head.n_identity + torch.arange(n_expression)))
    at = ids.to(head.v_template.device)
    columns = columns.to(at.device)
    shape = head.shapedirs[at][..., columns].permute(1, 0, 2)  # (3, N, n)
    features = slice(9 * (moving - 1), 9 * moving)  # among those of neck, jaw and eyes
    correctives = head.posedirs[features].unflatten(1, (-1, 3))[:, at].permute(2, 1, 0)  # (3, N, 9)
    joint = head.joint_dirs[moving][:, columns]  # (3, n)
    basis = torch.zeros(3, len(ids) + 1, n + 9, dtype=dtype, device=device)
    basis[:, :-1, :n], basis[:, :-1, n:], basis[:, -1, :n] = here(shape), here(correctives), here(joint)
    template = torch.cat((head.v_template[at], head.joint_template[moving, None])).T
    groups = (("identity", n_identity), ("expression", n_expression), (JOINT_NAMES[moving], 3))
    sigma = torch.cat([head.params[name].sigma[:size] for name, size in groups])
    bounds = torch.cat([_bounds(head, name, size) for name, size in groups])
    bounded = bool(torch.isfinite(bounds).any())
    return FitProblem(
        vertex_ids=ids,
        n_identity=n_identity,
        n_expression=n_expression,
        template=here(template).flatten(),
        basis=basis.flatten(0, 1),
        weights=here(head.weights[at, moving]),
        sigma=here(sigma),
        lower=here(bounds[:, 0]) if bounded else None,
        upper=here(bounds[:, 1]) if bounded else None,
    )


def _bounds(head: HeadModel, name: str, size: int) -> Tensor:
    given = head.params[name].bounds
    if given is None:
        return torch.tensor([[-torch.inf, torch.inf]]).repeat(size, 1)
    return given[:size].cpu().float()
