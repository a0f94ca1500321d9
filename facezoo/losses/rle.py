"""Residual log-likelihood estimation: a normalising flow learns the shape of the error distribution.

Source: Li et al. 2021, "Human pose regression with residual log-likelihood estimation", equations 7-9; the released
code differs from the paper in ways that ``compat=True`` reproduces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from facezoo.errors import InputError


class RealNVP(nn.Module):
    """A flow of affine couplings on the plane with a standard normal prior.

    Parameter names are those of the released code (``s.0.0.weight`` ...), so its weights load directly.
    """

    mask: Tensor

    def __init__(self, couplings: int = 6, width: int = 64) -> None:
        super().__init__()
        if couplings % 2:
            raise InputError(
                f"couplings={couplings}; an even number is needed so that both coordinates move equally often"
            )
        self.register_buffer("mask", torch.tensor([[0.0, 1.0], [1.0, 0.0]] * (couplings // 2)))
        self.t = nn.ModuleList(_coupling_net(width) for _ in range(couplings))
        self.s = nn.ModuleList(_coupling_net(width, nn.Tanh()) for _ in range(couplings))

    def to_latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (N, 2) to latent (N, 2) and return the log-determinant (N,) of that map."""
        log_det = x.new_zeros(x.shape[0])
        for i in reversed(range(len(self.t))):
            mask = self.mask[i]
            kept = x * mask
            s, t = self.s[i](kept) * (1 - mask), self.t[i](kept) * (1 - mask)
            x = kept + (1 - mask) * (x - t) * torch.exp(-s)
            log_det = log_det - s.sum(1)
        return x, log_det

    def to_data(self, z: Tensor) -> Tensor:
        """Map latent (N, 2) to data (N, 2), the inverse of :meth:`to_latent`."""
        for i in range(len(self.t)):
            mask = self.mask[i]
            kept = z * mask
            s, t = self.s[i](kept) * (1 - mask), self.t[i](kept) * (1 - mask)
            z = kept + (1 - mask) * (z * torch.exp(s) + t)
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density (..., ) of points (..., 2)."""
        z, log_det = self.to_latent(x.reshape(-1, 2))
        return (log_det - 0.5 * z.square().sum(-1) - math.log(2 * math.pi)).reshape(x.shape[:-1])


def rle_loss(
    mean: Tensor,
    sigma: Tensor,
    target: Tensor,
    flow: RealNVP,
    weight: Tensor | None = None,
    *,
    density: str = "laplace",
    compat: bool = False,
    size_average: bool = True,
) -> Tensor:
    """Compute the residual log-likelihood loss.

    Args:
        mean: predicted points (B, N, 2).
        sigma: positive scales (B, N, 2), from a sigmoid or an exponential.
        target: points (B, N, 2).
        flow: density of the normalised error ``(mean - target) / sigma``.
        weight: optional weights (B, N, 2).
        density: base density of the residual form, ``"laplace"`` or ``"gaussian"``.
        compat: follow the released code: log σ enters twice, the flow counts once a coordinate with x's weight,
            the Laplace density has the normaliser of a Gaussian, and the sum is divided by the batch size. Otherwise
            log σ and the flow enter once, the densities integrate to one, and the sum is divided by batch and
            points, so that the loss weight does not depend on the number of landmarks.
        size_average: with ``compat``: divide by the batch size.

    Returns:
        Scalar loss.

    Raises:
        InputError: wrong shapes or an unknown density.
    """
    if not (mean.shape == sigma.shape == target.shape) or mean.shape[-1] != 2:
        raise InputError(
            f"mean {tuple(mean.shape)}, sigma {tuple(sigma.shape)} and target {tuple(target.shape)} must be (B, N, 2)"
        )
    if density not in ("laplace", "gaussian"):
        raise InputError(f"density={density!r}; expected 'laplace' or 'gaussian'")
    weight = torch.ones_like(mean) if weight is None else weight.reshape(mean.shape)
    error = (mean - target) / sigma
    log_phi = flow.log_prob(error).unsqueeze(-1)
    if compat:
        if density == "gaussian":
            raise InputError(
                "the released code has no Gaussian density; use density='laplace' with compat=True"
            )
        log_q = torch.log(sigma * math.sqrt(2 * math.pi)) + (target - mean).abs() / (
            math.sqrt(2) * sigma + 1e-9
        )
        loss = ((torch.log(sigma) - log_phi) * weight[..., :1] + log_q * weight).sum()
        return loss / mean.shape[0] if size_average else loss
    if density == "laplace":  # unit standard deviation: b = 1/√2
        log_q = math.sqrt(2) * error.abs() + 0.5 * math.log(2)
    else:
        log_q = 0.5 * error.square() + 0.5 * math.log(2 * math.pi)
    per_point = ((torch.log(sigma) + log_q) * weight).sum(-1) - log_phi[..., 0] * weight.mean(-1)
    return per_point.mean()


def _coupling_net(width: int, *tail: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, width),
        nn.LeakyReLU(),
        nn.Linear(width, width),
        nn.LeakyReLU(),
        nn.Linear(width, 2),
        *tail,
    )
